"""How evenly the shards share the load."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING

from iotd.query.rows import as_html, as_text, frame
from iotd.query.status import ShardsStatus

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, slots=True)
class Share:
    """What one shard has of the whole; shares are from 0 to 1, and None where the shard does not answer.

    Attributes:
        share: of all readings that the shards hold.
        memory_share, writes_share: of all memory, and of all writes.
    """

    location: str
    series: int | None
    samples: int | None
    memory: int | None
    writes_per_second: float | None
    share: float | None
    memory_share: float | None
    writes_share: float | None


@dataclass(frozen=True, eq=False, repr=False)
class Distribution:
    """How the load is shared.

    Attributes:
        shards: each shard's share.
        imbalance: readings in the fullest shard, as a multiple of the mean: 1.0 is even, 2.0 twice as many.
        variation: standard deviation of the readings in a shard, as a share of the mean: 0.0 is even.
        unknown: locations whose shard does not answer; they are left out of the figures.
    """

    shards: tuple[Share, ...]
    series: int
    samples: int
    memory: int
    writes_per_second: float
    imbalance: float | None
    variation: float | None
    unknown: tuple[str, ...]

    def rows(self) -> list[dict[str, object]]:
        """A row for each shard, of plain values."""
        return [asdict(one) for one in self.shards]

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame with a row for each shard.

        Raises:
            UsageError: pandas is not installed.
        """
        return frame(self.rows())

    @property
    def balance(self) -> str:
        """The imbalance in words."""
        if self.imbalance is None:
            return "no readings yet"
        left_out = f"; {', '.join(self.unknown)} did not answer" if self.unknown else ""
        return f"fullest shard {self.imbalance:.2f} × the mean, variation {100 * (self.variation or 0):.1f} %{left_out}"

    def __repr__(self) -> str:
        return f"{as_text(self.rows())}\n{self.balance}"

    def _repr_html_(self) -> str:
        return f"{as_html(self.rows())}<p>{escape(self.balance)}</p>"


def distribution(status: ShardsStatus) -> Distribution:
    """How the shards share the load, by what they answered."""
    answered = [one for one in status if one.samples is not None]
    samples = sum(one.samples or 0 for one in answered)
    memory = sum(one.memory or 0 for one in answered)
    writes = sum(one.writes_per_second or 0.0 for one in answered)
    held = [one.samples or 0 for one in answered]
    mean = statistics.fmean(held) if held else 0.0
    return Distribution(
        shards=tuple(
            Share(
                one.location,
                one.series,
                one.samples,
                one.memory,
                one.writes_per_second,
                _share(one.samples, samples),
                _share(one.memory, memory),
                _share(one.writes_per_second, writes),
            )
            for one in status
        ),
        series=sum(one.series or 0 for one in answered),
        samples=samples,
        memory=memory,
        writes_per_second=writes,
        imbalance=max(held) / mean if mean else None,
        variation=statistics.pstdev(held) / mean if mean else None,
        unknown=tuple(one.location for one in status if one.samples is None),
    )


def _share(part: float | None, whole: float) -> float | None:
    return None if part is None or not whole else part / whole
