"""The lab: a process tree of its own, with its own network, mounts and process ids, gone with whatever runs in it.

Everything that a chaos run starts or breaks lives in here: a run that is killed leaves no server, no route and no
mount behind, and two runs at once use the same addresses without ever meeting.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache

_TOOLS = ("unshare", "ip", "iptables", "tc", "mount")
# the first process of the new tree takes in the orphans of all others; a shell that waits does just that
# what is unmounted is unmounted for the servers too, each of which `ip netns exec` gives mounts of its own
_FIRST = (
    "mount --make-rshared / && mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up && "
    '{ "$@" & wait $!; }'
)


def command(inside: Sequence[str]) -> list[str]:
    """The command that runs ``inside`` in a lab of its own."""
    unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-root-user"]
    return [*unshare, "sh", "-c", _FIRST, "lab", *inside]


@cache
def lacks() -> str | None:
    """Why this machine has no lab; None when one was seen to work."""
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} not on PATH (Debian: util-linux, iproute2, iptables, mount)"
    probe = "ip netns add probe && ip netns exec probe iptables -A INPUT -s 10.0.0.1 -j DROP"
    tried = subprocess.run(command(["sh", "-c", probe]), capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        said = tried.stderr.strip().splitlines()
        return f"namespaces are not allowed here: {said[-1] if said else tried.returncode}"
    return None


def run(inside: Sequence[str], env: Mapping[str, str] | None = None, **options: object) -> subprocess.Popen[str]:
    """Starts ``inside`` in a lab; the options are those of :class:`subprocess.Popen`."""
    return subprocess.Popen(command(inside), env={**os.environ, **(env or {})}, text=True, **options)  # type: ignore[call-overload,no-any-return]
