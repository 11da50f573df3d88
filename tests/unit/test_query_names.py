"""Locations, types, units and sensors by the names that people write."""

from __future__ import annotations

import pytest

from iotd.config.tree import Tree, TypeRow
from iotd.model.errors import UsageError
from iotd.model.selection import Selection
from iotd.model.types import BUILT_IN
from iotd.query.names import select

TREE = Tree(locations=("salon", "salle_de_bain", "séjour"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("salon", "salon"),
        ("Salle de bain", "salle_de_bain"),
        ("SALLE-DE-BAIN", "salle_de_bain"),
        ("sejour", "séjour"),
        ("séjour", "séjour"),
        ("se\u0301jour", "séjour"),
    ],
)
def test_accents_case_and_spaces_do_not_matter(written: str, meant: str) -> None:
    assert select(TREE, location=written).locations == (meant,)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("temperature", "temperature"),
        ("Température", "temperature"),
        ("humidité", "humidity"),
        ("air quality", "air_quality"),
        ("qualité de l’air", "air_quality"),
    ],
)
def test_a_type_may_be_written_in_french(written: str, meant: str) -> None:
    assert select(TREE, sensor_type=written).types == (meant,)


@pytest.mark.parametrize(
    ("written", "meant"), [("celsius", "temperature"), ("°C", "temperature"), ("ppm", "co2"), ("AQI", "air_quality")]
)
def test_a_unit_means_the_types_that_have_it_everywhere(written: str, meant: str) -> None:
    assert select(TREE, unit=written) == Selection(TREE.locations, (meant,))


def test_a_unit_of_several_types_means_them_all_and_types_may_be_of_the_configuration() -> None:
    assert select(TREE, unit="%").types == ("humidity", "battery")
    more = Tree(types={"radon": TypeRow(unit="bq_per_m3", aliases=("rn",), unit_aliases=("bq/m³",))})
    assert select(more, sensor_type="Rn").types == ("radon",)
    assert select(more, unit="Bq/m³").types == ("radon",)
    assert "radon" in select(more).types


@pytest.mark.parametrize("everything", [None, "all", "*", "tous"])
def test_all_locations_and_all_types(everything: str | None) -> None:
    what = select(TREE, location=everything, sensor_type=everything, sensor_ids=[3, 1, 3])
    assert what == Selection(TREE.locations, tuple(BUILT_IN), ("1", "3"))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            {"location": "sallon"},
            "no location 'sallon'; did you mean 'salon'? (there are salon, salle_de_bain, séjour)",
        ),
        ({"location": "x"}, "no location 'x'; there are salon, salle_de_bain, séjour"),
        ({"sensor_type": "temprature"}, "no type 'temprature'; did you mean 'temperature'?"),
        ({"unit": "celcius"}, "no unit 'celcius'; did you mean 'celsius'? (there are celsius, percent, aqi, "),
        ({"sensor_ids": []}, "not a sensor's id"),
        ({"sensor_ids": ""}, "not a sensor's id"),
    ],
)
def test_a_name_that_is_none_is_one_line_with_the_nearest(names: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as told:
        select(TREE, **names)
    assert says in str(told.value)
    assert "\n" not in str(told.value)
