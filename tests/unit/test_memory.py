"""Memory that was needed for a while is given back."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from iotd.ops import memory

_PROGRAM = """
import psutil
from iotd.ops.memory import trimmer
me = psutil.Process()
many = [bytes(2_000) for _ in range(50_000)]
kept = many[::100]  # so that the heap can't shrink from its end
del many
before = me.memory_info().rss
trimmer()()
print(before - me.memory_info().rss)
"""


@pytest.mark.skipif(memory.trimmer() is None, reason="this C library has no malloc_trim")
def test_freed_pages_between_used_ones_go_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000_000


async def test_it_happens_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(memory, "EVERY_S", 0.001)
    monkeypatch.setattr(memory, "trimmer", lambda: lambda: loop.call_soon_threadsafe(trimmed.release))
    task = asyncio.ensure_future(memory.keep_trimmed())
    for _ in range(3):
        await asyncio.wait_for(trimmed.acquire(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_where_the_c_library_can_not_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "trimmer", lambda: None)
    await asyncio.wait_for(memory.keep_trimmed(), 10)


def test_what_is_there_is_not_looked_at_again_and_new_garbage_is() -> None:
    program = "\n".join((
        "import gc, weakref",
        "from iotd.ops.memory import keep_what_is_there",
        "class Ring: pass",
        "def ring():",
        "    made = Ring(); made.itself = made",
        "    return weakref.ref(made)",
        "old = [Ring() for _ in range(1000)]",
        "keep_what_is_there()",
        "new = ring()",
        "gc.collect()",
        "print(gc.get_freeze_count() > 1000, any(one is old[0] for one in gc.get_objects()), new())",
    ))  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True False None\n"
