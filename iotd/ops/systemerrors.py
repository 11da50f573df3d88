"""What the operating system refuses, in words that say what to do."""

from __future__ import annotations

import errno

NO_MEMORY = "out of memory: the machine, or the limit that was set for this process, has no more; give it more"


def said(error: OSError) -> str:
    """The reason, and the remedy where the system's own words do not name it."""
    match error.errno:
        case errno.EMFILE:
            import resource  # noqa: PLC0415  # not on Windows

            most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return f"out of file descriptors: this process may have {most}; raise LimitNOFILE (systemd) or ulimit -n"
        case errno.ENFILE:
            return "out of file descriptors: the whole machine has no more; raise fs.file-max"
        case errno.EROFS:
            return "the disk is read-only: see what the kernel says of it (dmesg), mend it and mount it again"
        case errno.ENOSPC:
            return "no space left on the disk: free some"
        case errno.EDQUOT:
            return "the disk quota is used up: raise it, or free some space"
    return error.strerror or str(error) or repr(error)
