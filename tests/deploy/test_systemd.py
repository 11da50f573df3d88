"""deploy/iotd.service, by systemd's own judgement and under a real systemd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from iotd.stack.binaries import RedisBinaries
from tests.deploy import machine
from tests.servers.needs import lacking

UNIT = Path(__file__).parents[2] / "deploy" / "iotd.service"

SCRIPT = """
wait_for() { for _ in $(seq 300); do eval "$1" && return; sleep 0.1; done; echo "waited in vain: $1"; }
show() { systemctl show -P "$1" iotd; }
answers() { /opt/iotd/bin/iotd --config /etc/iotd/iotd.toml "$@"; }
export STATE_DIRECTORY=/var/lib/iotd

/opt/iotd/bin/iotd --config /etc/iotd/servers.toml stack up --output json >/dev/null
systemctl start iotd; echo "started: $? $(show ActiveState) $(show StatusText)"
wait_for 'answers status --output json | grep -q "acknowledged.: [1-9]"'
echo "user: $(stat -c %U /var/lib/private/iotd) $(stat -c %a /var/lib/private/iotd)"

printf '[logging]\\nlevel = "loud"\\n' >/etc/iotd/bad.toml
cp /etc/iotd/iotd.toml /etc/iotd/good.toml
cat /etc/iotd/bad.toml >>/etc/iotd/iotd.toml
systemctl reload iotd; echo "bad reload: $?"
wait_for 'journalctl -u iotd -o cat | grep -q "event.: .reload_refused"'
sed 's/^interval.*/interval = "200ms"/' /etc/iotd/good.toml >/etc/iotd/iotd.toml
systemctl reload iotd; echo "reload: $?"
wait_for 'journalctl -u iotd -o cat | grep -q "event.: .reloaded"'
wait_for '[ "$(show ActiveState)" = active ]'

kill -STOP "$(show MainPID)"
before=$(show NRestarts)
wait_for '[ "$(show NRestarts)" -gt "$before" ] && [ "$(show ActiveState)" = active ]'
echo "watchdog: $(show NRestarts) $(show ActiveState)"

systemctl stop iotd; echo "stopped: $(show Result) $(show ExecMainStatus)"
echo '[queues]' >>/etc/iotd/iotd.toml
systemctl start iotd 2>/dev/null
wait_for '[ "$(show ActiveState)" = failed ]'
echo "configuration: $(show ExecMainStatus) $(show NRestarts)"
journalctl -u iotd -o cat | grep '^{' | sed 's/^/log: /'
journalctl -u iotd -o cat | grep -v '^{' | sed 's/^/journal: /'
/opt/iotd/bin/iotd --config /etc/iotd/servers.toml stack down >/dev/null
"""

CONFIG = """
locations = ["salon"]
[sensors]
interval = "100ms"
[archive]
store = "embedded:"
"""


def test_systemd_finds_nothing_wrong_with_it_and_little_exposed(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        lacking("systemd", "no systemd-analyze on PATH")
    installed = tmp_path / "iotd.service"
    # the program need not be there for its unit to be looked at
    installed.write_text(UNIT.read_text().replace("/opt/iotd/bin/iotd", "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(installed)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    exposure = re.search(r"exposure level for iotd.service: ([\d.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) < 2.0


@pytest.mark.timeout(240)
def test_under_a_real_systemd_it_starts_reloads_is_watched_and_stops(
    redis_binaries: RedisBinaries, tmp_path: Path
) -> None:
    if (reason := machine.lacks()) is not None:
        lacking("systemd", reason)
    password = "fr0m-a-credential"
    secured = f'[redis]\npassword = "{password}"\n[sentinel]\npassword = "{password}"\n'
    files: dict[str, str] = {
        "systemd/system/iotd.service": UNIT.read_text(),
        "systemd/system/iotd.service.d/test.conf": "[Service]\nWatchdogSec=3s\n",
        "credstore/IOTD_REDIS__PASSWORD": password,
        "credstore/IOTD_SENTINEL__PASSWORD": password,
        "iotd/iotd.toml": CONFIG,
        "iotd/servers.toml": f'{CONFIG}[stack]\nbackend = "process"\nredis_dir = "/opt/redis"\n{secured}',
    }
    said = machine.boot(tmp_path / "machine", SCRIPT, files, {redis_binaries.server.parent: "/opt/redis"})
    lines = said.splitlines()
    assert "started: 0 active" in said, said
    assert "user: iotd 700" in lines
    assert "bad reload: 0" in lines
    assert "reload: 0" in lines, said
    assert "watchdog: 1 active" in lines
    assert "stopped: success 0" in lines
    assert "configuration: 78 0" in lines  # not started again and again
    logged = [json.loads(line.removeprefix("log: ")) for line in lines if line.startswith("log: ")]
    events = [line["event"] for line in logged]
    assert events.count("started") == 2
    assert events.index("reload_refused") < events.index("reloaded")
    assert password not in said
    assert "waited in vain" not in said, said
