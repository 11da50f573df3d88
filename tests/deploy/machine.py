"""A machine with systemd as its first process, for as long as a script runs on it.

Its disk is this machine's own, as an overlay in memory: what is installed here is there too, and nothing that it writes
is left. Its network is a loopback interface of its own.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
_LIMIT_S = 150

_BOOT = """
set -e
# a control group of its own, in each hierarchy there is, so that two machines at once do not meet
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
  [ -f $hierarchy/cgroup.procs ] || continue
  mkdir $hierarchy/$name
  echo $$ >$hierarchy/$name/cgroup.procs
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
cd /mnt/root
rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires etc/machine-id
mkdir -p etc/systemd/system/multi-user.target.wants opt/iotd/bin opt/python opt/site opt/source opt/script
touch etc/machine-id
cp -r "$script/etc" .
cp "$script/iotd" opt/iotd/bin/
ln -s ../script.service etc/systemd/system/multi-user.target.wants/
exec systemd-nspawn --quiet -D /mnt/root --register=no --keep-unit --private-network --console=pipe --machine="$name" \\
  --bind-ro="$python":/opt/python --bind-ro="$site":/opt/site --bind-ro="$source":/opt/source \\
  --bind="$script":/opt/script $binds --boot systemd.show_status=0
"""

_IOTD = """\
#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONHOME=/opt/python PYTHONPATH=/opt/site:/opt/source
exec /opt/python/bin/python3 -m iotd "$@"
"""

_UNIT = """\
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'exec /bin/sh /opt/script/run >/opt/script/said 2>&1'
# it may be cut off by the very end that it asks for, and says so: not into what the script said
ExecStopPost=-/bin/systemctl poweroff --no-block
"""


def lacks() -> str | None:
    """Why there is no such machine here; None when there may be."""
    if os.geteuid() != 0:
        return "only root boots one"
    missing = [tool for tool in ("systemd-nspawn", "unshare") if shutil.which(tool) is None]
    return f"{', '.join(missing)} not on PATH (Debian: systemd-container, util-linux)" if missing else None


def boot(folder: Path, script: str, files: Mapping[str, str], binds: Mapping[Path, str]) -> str:
    """Boots one, runs a shell script on it as root, and returns what that printed.

    Args:
        folder: an empty one.
        files: texts by their places under /etc.
        binds: folders of this machine by where they are to be there, to be read only.

    Raises:
        AssertionError: it did not come to the end of the script in time.
    """
    folder.mkdir()
    (folder / "run").write_text(script + "\necho the end\n")
    (folder / "iotd").write_text(_IOTD)
    (folder / "iotd").chmod(0o755)
    for place, text in ({**files, "systemd/system/script.service": _UNIT}).items():
        path = folder / "etc" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    name = f"iotd-{os.getpid()}"
    env = {
        **os.environ,
        "script": str(folder),
        "name": name,
        "python": sys.base_prefix,
        "site": sysconfig.get_path("purelib"),
        "source": str(_REPOSITORY),
        "binds": " ".join(f"--bind-ro={shlex.quote(str(here))}:{there}" for here, there in binds.items()),
    }
    command = ["unshare", "--mount", "--propagation", "private", "bash", "-c", _BOOT]
    done = subprocess.run(
        ["timeout", "--kill-after=5", str(_LIMIT_S), *command],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    for group in sorted(Path("/sys/fs/cgroup").glob(f"**/{name}/**/"), reverse=True):
        group.rmdir()
    said = (folder / "said").read_text() if (folder / "said").exists() else ""
    assert said.endswith("the end\n"), f"{done.stdout}\n{said}"
    return said
