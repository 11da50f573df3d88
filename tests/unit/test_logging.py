"""Logs: the form of a line, no secrets in it, repeats, and a reader that is too slow."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from iotd.config import Settings
from iotd.ops import logging as ops_logging
from iotd.ops.logging import logging_to
from iotd.ops.repeats import Repeats

log = structlog.get_logger()


def written(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None], **settings: Any) -> list[dict[str, Any]]:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with logging_to(Settings(**settings)):
        do()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_has_its_time_in_utc_and_ms_its_level_and_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = written(monkeypatch, lambda: log.info("shard_moved", shard="salon", gap_ms=7))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert (line["level"], line["event"], line["shard"], line["gap_ms"]) == ("info", "shard_moved", "salon", 7)


def test_no_secret_is_written_by_whatever_way_it_comes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "redis-password"
    secret.write_text("from-a-file\n")

    def tell() -> None:
        log.info("a", password="p4ssw0rd", api_token="abc", token_file=str(secret))
        log.info("b", reason="connecting to redis://user:hidden@host:6379/0 failed")
        log.info("c", said="WRONGPASS for from-a-file and hunter22")
        log.info("d", headers="Authorization: Token s3cr3t-token==")
        try:
            raise ValueError("hunter22 was refused")
        except ValueError:
            log.exception("e")
        logging.getLogger("some.library").warning("auth with %s", "hunter22")

    lines = written(monkeypatch, tell, redis={"password_file": secret}, influxdb={"token": "hunter22"})
    text = json.dumps(lines)
    for hidden in ("p4ssw0rd", "hidden", "from-a-file", "hunter22", "s3cr3t"):
        assert hidden not in text
    assert lines[0]["token_file"] == str(secret)  # where a secret is, is none
    assert "redis://[secret]@host:6379" in lines[1]["reason"]
    assert lines[-1]["event"] == "library_log"


def test_the_level_and_the_secrets_follow_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with logging_to(Settings()) as relog:
        log.debug("not_yet")
        relog(Settings.model_validate({"logging": {"level": "debug"}, "redis": {"password": "changed-secret"}}))
        log.debug("now", said="changed-secret")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["now"]
    assert "changed-secret" not in out.getvalue()


def test_what_fails_all_the_time_is_written_ten_times_a_minute_and_then_with_how_often() -> None:
    now = 0.0
    repeats = Repeats(lambda: now)
    kept = []
    for n in range(1_000):
        now = n * 0.12  # two minutes in all
        try:
            kept.append(repeats(None, "warning", {"event": "flaps", "shard": "salon", "n": n}))
        except structlog.DropEvent:
            continue
    assert len(kept) == 20
    assert kept[10]["suppressed"] == 490
    assert repeats(None, "warning", {"event": "flaps", "shard": "cuisine"})  # another shard is another thing
    for _ in range(100):
        assert repeats(None, "info", {"event": "archived", "shard": "salon"})


def test_a_reader_that_does_not_read_holds_nobody_up_and_learns_how_much_it_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    pipe = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stderr", pipe)
    text: list[str] = []

    def read_late() -> None:
        with os.fdopen(reading) as f:
            text.extend(f)

    with logging_to(Settings()):
        began = time.monotonic()
        for n in range(30_000):
            log.info("much", n=n, filler="x" * 100)
        assert time.monotonic() - began < 60  # it returned at all: the pipe holds a thousandth of this
        reader = threading.Thread(target=read_late)
        reader.start()
    pipe.close()
    reader.join(30)
    lines = [json.loads(line) for line in text]
    missed = sum(line["count"] for line in lines if line["event"] == "log_lines_dropped")
    assert missed > 0
    assert missed + sum(line["event"] == "much" for line in lines) == 30_000


def test_leaving_does_not_wait_for_a_reader_that_never_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    pipe = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stderr", pipe)
    monkeypatch.setattr(ops_logging, "_CLOSE_S", 0.1)
    with logging_to(Settings()):
        for n in range(12_000):
            log.info("much", n=n, filler="x" * 100)
    os.close(reading)  # it ends its thread: what cannot be written is let go of
    for thread in threading.enumerate():
        if thread.name == "log-end":
            thread.join(30)
            assert not thread.is_alive()
    with pytest.raises(BrokenPipeError):
        pipe.close()
