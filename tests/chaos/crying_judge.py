"""The daemon whose judgement always cries that nothing is written, so that the checker is seen to see a false alarm."""

from __future__ import annotations

from iotd.cli import main
from iotd.daemon.runtime import Runtime
from iotd.health.conditions import Found


def _nothing_is_written(self: Runtime) -> None:
    self.conditions.update([Found("not_written", name) for name in self.locations])


if __name__ == "__main__":
    Runtime.judge = _nothing_is_written  # type: ignore[method-assign]
    main()
