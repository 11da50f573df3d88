"""What a query asks for: locations, types, units, sensors and aggregations by name, as people write them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from iotd.config.tree import Tree
from iotd.model.aggregate import ASKED, Asked, fits
from iotd.model.errors import UsageError
from iotd.model.folding import folded
from iotd.model.selection import Selection
from iotd.model.series import Series, natural
from iotd.model.types import Types

Ids = int | str | Sequence[int | str] | None
"""The id of a sensor, several of them, or None for all; a number stands for its digits."""

ALL = ("all", "*", "tous", "toutes")


_ALSO_CALLED = {"mean": "avg", "average": "avg", "moyenne": "avg", "std": "std.p", "stddev": "std.p", "spread": "range"}


def select(
    settings: Tree,
    *,
    location: str | None = None,
    sensor_type: str | None = None,
    unit: str | None = None,
    sensor_ids: Ids = None,
    seen: Iterable[Series] = (),
) -> Selection:
    """The selection that these names describe; None, ``all`` and ``*`` mean all.

    Accents, case, spaces and hyphens don't matter: ``Salle de bain`` is ``salle_de_bain``.

    Args:
        seen: series that there are: their types can be asked for, also those that the table no longer has.

    Raises:
        UsageError: there is no such location, type, unit or id; the message names the nearest.
    """
    table = settings.known_types
    table = table.extended({one.type: table.row(one.type, one.unit) for one in seen if one.type not in table})
    types = tuple(table)
    if unit is not None:
        others = {alias: table[t].unit for t in types for alias in table[t].unit_aliases}
        found = _one("unit", unit, tuple(dict.fromkeys(table[t].unit for t in types)), others)
        types = tuple(t for t in types if table[t].unit == found)
    elif not _is_all(sensor_type):
        types = (_one("type", str(sensor_type), types, {alias: t for t in types for alias in table[t].aliases}),)
    locations = tuple(settings.locations)
    if not _is_all(location):
        there = (*settings.locations, *settings.retired)
        others = {former: name for name, known in settings.known.items() for former, _ in known.formers}
        for name, its in settings.locations.items():
            others |= dict.fromkeys((*its.aliases, its.name), name)
        locations = (_one("location", str(location), there, others),)
    return Selection(locations, types, _ids(sensor_ids))


def aggregation(name: str) -> Asked:
    """The aggregation of that name.

    Raises:
        UsageError: there is none.
    """
    wanted = _ALSO_CALLED.get(name.lower(), name.lower())
    if (found := next((one for one in ASKED if one == wanted), None)) is None:
        raise UsageError(f"no aggregation {name!r}; there are {', '.join(ASKED)}")
    return found


def fitting(what: Selection, asked: Asked, types: Types) -> Selection:
    """Of the types of a selection those for which an aggregation means something.

    Raises:
        UsageError: there is none.
    """
    fit = tuple(name for name in what.types if fits(asked, types.row(name).kind))
    if fit or not what.types:
        return replace(what, types=fit)
    kind = types.row(what.types[0]).kind
    there = ", ".join(one for one in ASKED if fits(one, kind))
    raise UsageError(f"{asked} of {what.types[0]}, a {kind}, means nothing; there are {there}")


def _is_all(name: str | None) -> bool:
    return name is None or name.strip().lower() in ALL


def _ids(sensor_ids: Ids) -> tuple[str, ...] | None:
    if sensor_ids is None:
        return None
    ids = (sensor_ids,) if isinstance(sensor_ids, int | str) else tuple(sensor_ids)
    if not ids or not all(type(i) in (int, str) and str(i) for i in ids):
        raise UsageError(f"sensor: {sensor_ids!r} is not a sensor's id; give one like 1 or north, or a list of several")
    return tuple(sorted({str(i) for i in ids}, key=natural))


def _one(what: str, name: str, known: Sequence[str], others: Mapping[str, str]) -> str:
    wanted = folded(name)
    by_fold = {folded(k): k for k in known}
    also = {folded(other): k for other, k in others.items() if k in known}
    names = also | by_fold
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    there = f"there are {', '.join(known)}" if len(known) > 1 else f"there is only {known[0]}"
    if near:
        raise UsageError(f"no {what} {name!r}; did you mean {names[near[0]]!r}? ({there})")
    raise UsageError(f"no {what} {name!r}; {there}")
