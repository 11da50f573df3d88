"""The dead-letter files: what a server refuses for good, with the reason, so that nothing vanishes."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from iotd.ops.files import write_atomically


class DeadLetters:
    """One append-only file of JSON lines; a line is on disk when :meth:`add` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        """Letters added since this object was made."""
        self._lock = threading.Lock()

    def replace(self, lines: Iterable[str]) -> None:
        """Makes these lines the file's content, whole or not at all; blocks meanwhile.

        Raises:
            OSError: the file can't be written; it is as it was.
        """
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, "".join(f"{line}\n" for line in lines))

    def add(self, letters: Iterable[Mapping[str, Any]], reason: str) -> int:
        """Appends a line per letter, with the reason and the time (``at``, ms), and fsyncs; blocks meanwhile.

        Returns:
            how many were added.

        Raises:
            OSError: the file can't be written; then none of the letters may be taken as kept.
        """
        at = time.time_ns() // 1_000_000
        lines = [json.dumps({"at": at, "reason": reason, **letter}, ensure_ascii=False) + "\n" for letter in letters]
        if not lines:
            return 0
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as f:
                whole, rest = f.tell(), memoryview("".join(lines).encode())
                try:
                    while rest:
                        rest = rest[f.write(rest) :]
                    os.fsync(f.fileno())
                except OSError:
                    f.truncate(whole)  # or the next letter would be appended to half of one
                    raise
            self.count += len(lines)
        return len(lines)
