"""The presets by the names that they have in `mqtt.presets`."""

from __future__ import annotations

from collections.abc import Mapping

from iotd.model.errors import ConfigError
from iotd.sources.mqtt.presets.airgradient import AirGradient
from iotd.sources.mqtt.presets.base import Preset
from iotd.sources.mqtt.presets.chirpstack import ChirpStack
from iotd.sources.mqtt.presets.esphome import EspHome
from iotd.sources.mqtt.presets.homeassistant import HomeAssistant
from iotd.sources.mqtt.presets.homie import Homie
from iotd.sources.mqtt.presets.openmqttgateway import OpenMqttGateway
from iotd.sources.mqtt.presets.rtl_433 import Rtl433
from iotd.sources.mqtt.presets.shelly import Shelly
from iotd.sources.mqtt.presets.statestream import Statestream
from iotd.sources.mqtt.presets.tasmota import Tasmota
from iotd.sources.mqtt.presets.the_things_stack import TheThingsStack
from iotd.sources.mqtt.presets.zigbee2mqtt import Zigbee2Mqtt

PRESETS: Mapping[str, type[Preset]] = {
    one.name: one
    for one in (
        AirGradient,
        ChirpStack,
        EspHome,
        Homie,
        OpenMqttGateway,
        Rtl433,
        Shelly,
        Statestream,
        Tasmota,
        TheThingsStack,
        Zigbee2Mqtt,
        HomeAssistant,
    )
}
"""In the order in which they are asked for a topic: any one may be announced by Home Assistant's discovery."""


def make(name: str, base: str | None = None) -> Preset:
    """The preset of this name.

    Args:
        base: what its topics begin with; None: what they begin with by default.

    Raises:
        ConfigError: there is none, or its topics always begin the same way.
    """
    kind = PRESETS.get(name)
    if kind is None:
        raise ConfigError(f"no preset is called {name!r}; there are {', '.join(sorted(PRESETS))}")
    if base is None:
        return kind()
    if not kind().base:
        raise ConfigError(f"mqtt.presets: the topics of {name} always begin the same way: leave the base {base!r} out")
    return kind(base)  # type: ignore[call-arg]  # what has a base takes one
