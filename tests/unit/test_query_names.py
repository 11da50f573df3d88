"""Locations, types, units and sensors by the names that people write."""

from __future__ import annotations

from typing import Any

import pytest

from iotd.config.sections.sensors import Sensors, TypeRow
from iotd.config.tree import Tree
from iotd.model.errors import UsageError
from iotd.model.selection import Selection
from iotd.model.series import Series
from iotd.model.types import BUILT_IN
from iotd.query.names import fitting, select

ROOMS = {"salon": {"name": "Grand salon", "aliases": ["living room"]}, "salle_de_bain": {}, "séjour": {}}
TREE = Tree.model_validate({"locations": ROOMS})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("salon", "salon"),
        ("Salle de bain", "salle_de_bain"),
        ("grand SALON", "salon"),
        ("Living-Room", "salon"),
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
    assert select(TREE, unit=written) == Selection(tuple(ROOMS), (meant,))


def test_a_unit_of_several_types_means_them_all_and_types_may_be_of_the_configuration() -> None:
    assert select(TREE, unit="%").types == ("humidity", "battery")
    more = Tree(types={"radon": TypeRow(unit="bq_per_m3", aliases=("rn",), unit_aliases=("bq/m³",))})
    assert select(more, sensor_type="Rn").types == ("radon",)
    assert select(more, unit="Bq/m³").types == ("radon",)
    assert "radon" in select(more).types


def test_a_type_that_was_taken_from_the_table_can_be_asked_for_while_there_are_series_of_it() -> None:
    seen = [Series("radon", "salon", "cellar", "bq_per_m3"), Series("temperature", "salon", "north")]
    assert select(TREE, sensor_type="radon", seen=seen).types == ("radon",)
    assert select(TREE, unit="bq_per_m3", seen=seen).types == ("radon",)
    with pytest.raises(UsageError, match="no type 'radon'"):
        select(TREE, sensor_type="radon")


def test_the_simulators_roster_says_nothing_of_what_may_be_asked() -> None:
    assert select(Tree(sensors=Sensors(types=("contact",)))).types == tuple(BUILT_IN)


@pytest.mark.parametrize("everything", [None, "all", "*", "tous"])
def test_all_locations_and_all_types(everything: str | None) -> None:
    what = select(TREE, location=everything, sensor_type=everything, sensor_ids=[3, 1, 3])
    assert what == Selection(tuple(ROOMS), tuple(BUILT_IN), ("1", "3"))


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
def test_a_name_that_is_none_is_one_line_with_the_nearest(names: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as told:
        select(TREE, **names)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_an_aggregation_is_of_the_types_that_it_fits() -> None:
    everything = Selection(("salon",), ("temperature", "energy", "contact"))
    assert fitting(everything, "avg", BUILT_IN).types == ("temperature",)
    assert fitting(everything, "increase", BUILT_IN).types == ("energy",)
    assert fitting(everything, "last", BUILT_IN).types == everything.types
    with pytest.raises(UsageError, match=r"avg of contact, a state, means nothing; there are min, max"):
        fitting(Selection(("salon",), ("contact",)), "avg", BUILT_IN)
    with pytest.raises(UsageError, match=r"increase of temperature, a gauge"):
        fitting(Selection(("salon",), ("temperature",)), "increase", BUILT_IN)
