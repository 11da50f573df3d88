"""The daemon with its judgement of itself switched off, so that the checker is seen to see a lie."""

from __future__ import annotations

from iotd.cli import main
from iotd.daemon.runtime import Runtime


def _all_is_well(self: Runtime) -> None:
    self.conditions.update([])


if __name__ == "__main__":
    Runtime.judge = _all_is_well  # type: ignore[method-assign]
    main()
