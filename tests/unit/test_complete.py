"""A shell completes the ids of the sensors that were seen, and the types that can be calibrated."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from iotd.cli import complete
from iotd.intake.catalogue import Catalogue
from iotd.model.series import Series


@pytest.fixture
def ctx(tmp_path: Path) -> click.Context:
    config = tmp_path / "iotd.toml"
    config.write_text(f'locations = ["salon"]\nstate_dir = "{tmp_path / "state"}"\n')
    made = click.Context(click.Command("iotd"))
    made.params = {"config": config}
    return made


def offered(found: list[click.shell_completion.CompletionItem]) -> list[str]:
    return [one.value for one in found]


async def test_sensors_are_those_of_the_catalogue_each_once(ctx: click.Context, tmp_path: Path) -> None:
    param = click.Argument(["sensor"])
    assert complete.sensors(ctx, param, "") == []
    catalogue = Catalogue(tmp_path / "state" / "catalogue.sqlite")
    seen = [Series("temperature", "salon", "0x1"), Series("humidity", "salon", "0x1"), Series("energy", "salon", "m")]
    await catalogue.register(seen, "test")
    assert offered(complete.sensors(ctx, param, "")) == ["0x1", "m"]
    assert offered(complete.sensors(ctx, param, "0")) == ["0x1"]
    catalogue.close()


def test_a_state_is_not_calibrated(ctx: click.Context) -> None:
    param = click.Option(["--type"])
    assert offered(complete.measured_types(ctx, param, "e")) == ["energy"]
    assert offered(complete.measured_types(ctx, param, "contact")) == []
