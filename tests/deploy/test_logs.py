"""deploy/logs: rsyslog really collects what a daemon logs; what can't be run here is at least well formed."""

from __future__ import annotations

import configparser
import json
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.servers.daemon import running_daemon
from tests.servers.needs import lacking
from tests.servers.ports import port_block
from tests.servers.system import make_settings, until

LOGS = Path(__file__).parents[2] / "deploy" / "logs"


async def test_rsyslog_collects_every_line_with_its_fields(tmp_path: Path) -> None:
    if shutil.which("rsyslogd") is None:
        lacking("rsyslog", "no rsyslogd on PATH")
    folder = tmp_path / "log"
    folder.mkdir()
    text = (LOGS / "rsyslog.conf").read_text().replace("/var/log/iotd", str(folder))
    config = tmp_path / "rsyslog.conf"
    config.write_text(f'global(workDirectory="{tmp_path}")\n{text}')
    checked = subprocess.run(["rsyslogd", "-N1", "-f", config], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    collector = subprocess.Popen(["rsyslogd", "-n", "-f", config, "-i", tmp_path / "pid"])
    try:
        with port_block() as first:
            # nobody listens there: a daemon in trouble has something to say
            settings = make_settings(tmp_path / "home", first, ("salon",), logging={"format": "json"})
            with running_daemon(settings) as daemon:
                await daemon.running()
                assert await daemon.stop() == 0
        lines = daemon.log.read_text().splitlines()
        assert lines
        (folder / "iotd.jsonl").write_text("\n".join([*lines, "no JSON at all"]) + "\n")

        async def collected() -> bool:
            return (folder / "unparsed.log").exists()

        await until(collected, 30, "rsyslog has read to the end")
    finally:
        collector.terminate()
        collector.wait(20)
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    said = [json.loads(line) for line in lines]
    assert [(r["@timestamp"], r["level"], r["event"]) for r in records] == [
        (s["time"], s["level"], s["event"]) for s in said
    ]
    assert {r["event"] for r in records} >= {"started", "stopped"}
    assert "no JSON at all" in (folder / "unparsed.log").read_text()


def test_vector_and_fluent_bit_name_fields_that_there_are() -> None:
    vector = yaml.safe_load((LOGS / "vector.yaml").read_text())
    steps = vector["sources"].keys() | vector["transforms"].keys()
    for step in [*vector["transforms"].values(), *vector["sinks"].values()]:
        assert set(step["inputs"]) <= steps
    parser = configparser.ConfigParser(delimiters=(" ",))
    parser.read_string((LOGS / "parsers.conf").read_text())
    assert parser["PARSER"]["Time_Key"].strip() == "time"
    assert "Parsers_File  parsers.conf" in (LOGS / "fluent-bit.conf").read_text()
