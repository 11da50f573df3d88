"""Prints what the integrations need that the tests set up, as their manifests say it: run in Home Assistant's venv."""

import json
from pathlib import Path

import homeassistant
from homeassistant.bootstrap import CORE_INTEGRATIONS, DEFAULT_INTEGRATIONS

COMPONENTS = Path(homeassistant.__file__).parent / "components"

wanted = [*CORE_INTEGRATIONS, *DEFAULT_INTEGRATIONS, "api", "influxdb", "recorder", "template", "input_number"]
wanted += ["mqtt", "mqtt_statestream"]
found: set[str] = set()
seen: set[str] = set()
while wanted:
    name = wanted.pop()
    if name not in seen:
        seen.add(name)
        manifest = json.loads((COMPONENTS / name / "manifest.json").read_text())
        found.update(manifest.get("requirements", ()))
        wanted += manifest.get("dependencies", ())
found.add("josepy<2")  # what it needs itself needs this one, and does not say so; without it no request is answered
print(*sorted(found), sep="\n")  # noqa: T201
