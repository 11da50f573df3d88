"""A database as Home Assistant's recorder makes it (2024.3, schema 43): its tables and indexes, filled."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOUR_S = 3600
SCHEMA = """
CREATE TABLE event_types (event_type_id INTEGER NOT NULL, event_type VARCHAR(64), PRIMARY KEY (event_type_id));
CREATE TABLE state_attributes (attributes_id INTEGER NOT NULL, hash BIGINT, shared_attrs TEXT,
  PRIMARY KEY (attributes_id));
CREATE TABLE states_meta (metadata_id INTEGER NOT NULL, entity_id VARCHAR(255), PRIMARY KEY (metadata_id));
CREATE TABLE statistics_meta (id INTEGER NOT NULL, statistic_id VARCHAR(255), source VARCHAR(32),
  unit_of_measurement VARCHAR(255), has_mean BOOLEAN, has_sum BOOLEAN, name VARCHAR(255), PRIMARY KEY (id));
CREATE TABLE schema_changes (change_id INTEGER NOT NULL, schema_version INTEGER, changed DATETIME,
  PRIMARY KEY (change_id));
CREATE TABLE states (state_id INTEGER NOT NULL, entity_id CHAR(0), state VARCHAR(255), attributes CHAR(0),
  event_id SMALLINT, last_changed CHAR(0), last_changed_ts FLOAT, last_reported_ts FLOAT, last_updated CHAR(0),
  last_updated_ts FLOAT, old_state_id INTEGER, attributes_id INTEGER, context_id CHAR(0), context_user_id CHAR(0),
  context_parent_id CHAR(0), origin_idx SMALLINT, context_id_bin BLOB, context_user_id_bin BLOB,
  context_parent_id_bin BLOB, metadata_id INTEGER, PRIMARY KEY (state_id),
  FOREIGN KEY(old_state_id) REFERENCES states (state_id),
  FOREIGN KEY(attributes_id) REFERENCES state_attributes (attributes_id),
  FOREIGN KEY(metadata_id) REFERENCES states_meta (metadata_id));
CREATE TABLE statistics (id INTEGER NOT NULL, created CHAR(0), created_ts FLOAT, metadata_id INTEGER, start CHAR(0),
  start_ts FLOAT, mean FLOAT, min FLOAT, max FLOAT, last_reset CHAR(0), last_reset_ts FLOAT, state FLOAT, sum FLOAT,
  PRIMARY KEY (id), FOREIGN KEY(metadata_id) REFERENCES statistics_meta (id) ON DELETE CASCADE);
CREATE TABLE statistics_short_term (id INTEGER NOT NULL, created CHAR(0), created_ts FLOAT, metadata_id INTEGER,
  start CHAR(0), start_ts FLOAT, mean FLOAT, min FLOAT, max FLOAT, last_reset CHAR(0), last_reset_ts FLOAT,
  state FLOAT, sum FLOAT, PRIMARY KEY (id));
CREATE INDEX ix_states_metadata_id_last_updated_ts ON states (metadata_id, last_updated_ts);
CREATE INDEX ix_states_last_updated_ts ON states (last_updated_ts);
CREATE UNIQUE INDEX ix_statistics_statistic_id_start_ts ON statistics (metadata_id, start_ts);
CREATE UNIQUE INDEX ix_states_meta_entity_id ON states_meta (entity_id);
CREATE INDEX ix_state_attributes_hash ON state_attributes (hash);
INSERT INTO schema_changes VALUES (1, 43, '2024-03-06 18:00:00.000000');
"""
OLD_SCHEMA = """
CREATE TABLE states (state_id INTEGER PRIMARY KEY, domain VARCHAR(64), entity_id VARCHAR(255), state VARCHAR(255),
  attributes TEXT, event_id INTEGER, last_changed DATETIME, last_updated DATETIME, old_state_id INTEGER);
CREATE TABLE statistics_meta (id INTEGER PRIMARY KEY, statistic_id VARCHAR(255), source VARCHAR(32),
  unit_of_measurement VARCHAR(255), has_mean BOOLEAN, has_sum BOOLEAN);
CREATE TABLE statistics (id INTEGER PRIMARY KEY, created DATETIME, metadata_id INTEGER, start DATETIME, mean FLOAT,
  min FLOAT, max FLOAT, last_reset DATETIME, state FLOAT, sum FLOAT);
CREATE TABLE schema_changes (change_id INTEGER PRIMARY KEY, schema_version INTEGER, changed DATETIME);
INSERT INTO schema_changes VALUES (1, 22, '2021-12-11 18:00:00.000000');
"""
"""As of 2021: entity, attributes and times are text within each state."""


@dataclass(frozen=True)
class Entity:
    """A sensor; ``counts``: its statistics are sums."""

    id: str
    attributes: dict[str, Any]
    base: float
    counts: bool = False

    def at(self, s: float) -> float:
        """Its value, for any time in s since the epoch."""
        if self.counts:
            return round(self.base + s / HOUR_S / 10 - 49_000, 3)
        return round(self.base + 5 * math.sin(s / 13_751), 2)


ENTITIES = (
    Entity(
        "sensor.salon_temperature",
        {"device_class": "temperature", "unit_of_measurement": "°C", "friendly_name": "Salon Temperature"},
        20,
    ),
    Entity(
        "sensor.cave_thermo",
        {"device_class": "temperature", "unit_of_measurement": "°F", "friendly_name": "Cave"},
        60,
    ),
    Entity("sensor.salon_humidity", {"device_class": "humidity", "unit_of_measurement": "%"}, 50),
    Entity(
        "sensor.salon_energy",
        {"device_class": "energy", "unit_of_measurement": "kWh", "state_class": "total_increasing"},
        100,
        counts=True,
    ),
)


def make_database(
    path: Path, stop_s: int, *, days: int, state_days: float, step_s: int, entities: Sequence[Entity] = ENTITIES
) -> tuple[int, int]:
    """Makes one with statistics of each hour of so many days, and states each ``step_s`` of the last ones.

    Args:
        stop_s: where both end, s since the epoch, an hour's begin.

    Returns:
        states and statistics, how many.
    """
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA)
        states = statistics = 0
        begin = stop_s - round(state_days * 86_400)
        for n, one in enumerate(entities, start=1):
            attributes = json.dumps(one.attributes)
            db.execute("INSERT INTO states_meta VALUES (?, ?)", (n, one.id))
            db.execute("INSERT INTO state_attributes VALUES (?, ?, ?)", (n, hash(attributes), attributes))
            unit = one.attributes["unit_of_measurement"]
            db.execute(
                "INSERT INTO statistics_meta VALUES (?, ?, 'recorder', ?, ?, ?, NULL)",
                (n, one.id, unit, not one.counts, one.counts),
            )
        rows = [
            (str(one.at(s)), float(s) + n / 1000, n, n)
            for s in range(begin, stop_s, step_s)
            for n, one in enumerate(entities, start=1)
        ]
        states = len(rows)
        query = "INSERT INTO states (state, last_updated_ts, attributes_id, metadata_id) VALUES (?, ?, ?, ?)"
        db.executemany(query, rows)
        hours = [
            (s + HOUR_S + 10.0, n, float(s), *_statistics(one, s))
            for s in range(stop_s - days * 86_400, stop_s, HOUR_S)
            for n, one in enumerate(entities, start=1)
        ]
        statistics = len(hours)
        columns = "created_ts, metadata_id, start_ts, mean, min, max, state, sum"
        db.executemany(f"INSERT INTO statistics ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", hours)
        db.commit()
    return states, statistics


def _statistics(one: Entity, s: int) -> tuple[float | None, ...]:
    if one.counts:
        total = one.at(s + HOUR_S)
        return None, None, None, total, total - one.base
    mean = one.at(s + HOUR_S / 2)
    return mean, mean - 1, mean + 1, None, None
