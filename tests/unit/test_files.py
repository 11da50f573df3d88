"""A file is replaced whole or not at all, and a secret is for its owner only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iotd.ops.files import write_atomically, write_secret


def test_the_new_content_replaces_the_old_also_over_what_a_crash_left(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")
    (tmp_path / f"file.json.{os.getpid()}.new").write_text("half of someth")
    write_atomically(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    write_atomically(path, b"\x00\xff", 0o640)
    assert path.read_bytes() == b"\x00\xff"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_synced_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen, fsync = tmp_path / "file", [], os.fsync

    def noted(fd: int) -> None:
        seen.append((Path(os.readlink(f"/proc/self/fd/{fd}")).name, path.exists()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    write_atomically(path, "new")
    assert seen == [(f"file.{os.getpid()}.new", False), (tmp_path.name, True)]


def test_a_secret_is_a_line_that_only_its_owner_reads_and_follows_no_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / f"token.{os.getpid()}.new").symlink_to(elsewhere)
    write_secret(tmp_path / "token", "s3cret")
    assert (tmp_path / "token").read_text() == "s3cret\n"
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert not elsewhere.exists()
