"""Dead letters: whole lines, on disk on return, appended to what is there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from iotd.ops.deadletters import DeadLetters


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_letter_has_its_reason_and_when_and_comes_after_those_of_earlier_runs(tmp_path: Path) -> None:
    path = tmp_path / "dead-letters" / "readings.jsonl"
    assert DeadLetters(path).add([{"key": "é", "value": "nan"}], "not a number") == 1
    again = DeadLetters(path)
    assert again.add([{"key": "a"}, {"key": "b"}], "too late") == 2
    assert again.count == 2
    said = lines(path)
    assert [(line["key"], line["reason"]) for line in said] == [
        ("é", "not a number"),
        ("a", "too late"),
        ("b", "too late"),
    ]
    assert all(isinstance(line["at"], int) for line in said)


def test_no_letter_makes_no_file(tmp_path: Path) -> None:
    assert DeadLetters(tmp_path / "none.jsonl").add([], "nothing") == 0
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "readings.jsonl"
    letters = DeadLetters(path)
    letters.add([{"key": "a"}], "first")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            letters.add([{"key": "b"}], "second")
    assert letters.count == 1
    letters.add([{"key": "c"}], "third")
    assert [line["key"] for line in lines(path)] == ["a", "c"]
