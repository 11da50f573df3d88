"""Importers: what files of other programs say, by their forms, from any mark on."""

from __future__ import annotations

import gzip
import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iotd.intake.resolve import Resolver
from iotd.model.errors import Refused, UsageError
from iotd.model.observation import Moment
from iotd.model.summaries import HourlySummaries
from iotd.model.types import BUILT_IN
from iotd.sources.http.jsonreadings import as_dict, listed
from iotd.sources.importers.base import Importer, Row
from iotd.sources.importers.homeassistant import HomeAssistantImporter
from iotd.sources.importers.registry import importer_of
from tests.servers.homeassistant import make_database

NAMES = Resolver(BUILT_IN, {}, {})
T0 = 1_790_000_000


def importer(path: Path, form: str | None = None, **more: Any) -> Importer:
    given: dict[str, Any] = {"columns": {}, "fixed": {}, "precision": "ns", "time_format": None} | more
    return importer_of(path, form, names=NAMES, types=BUILT_IN, **given)


def said(rows: list[Row]) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for row in rows:
        if isinstance(row.said, Refused):
            found.append((row.place, row.said.reason))
        elif isinstance(row.said, HourlySummaries):
            found.append((row.place, row.said.of.type, row.said.of.sensor, *row.said.hours))
        else:
            found += [(row.place, s.type, s.location, s.sensor, s.value, s.unit, s.time) for s in row.said]
    return found


def from_any_mark(one: Importer) -> list[Row]:
    """All rows, after it was seen that they are the same from any mark on."""
    rows = list(one.rows())
    for at, row in enumerate(rows):
        assert [r.mark for r in one.rows(row.mark)] == [r.mark for r in rows[at + 1 :]]
    assert [r.mark for r in rows] == sorted({r.mark for r in rows})
    assert all(r.done <= one.size for r in rows)
    return rows


@pytest.mark.parametrize("packed", [False, True])
def test_csv_and_line_protocol_also_packed(tmp_path: Path, packed: bool) -> None:
    def write(name: str, text: bytes) -> Path:
        path = tmp_path / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(text) if packed else text)
        return path

    table = write("cellar.csv", b"Date;T\n2026-01-01T00:00:00Z;12,5\n\n2026-01-01T00:10:00Z\n2026-01-01T00:20:00Z;13\n")
    rows = from_any_mark(importer(table, columns={"Date": "time", "T": "temperature:cave:1"}))
    assert said(rows) == [
        ("line 2", "temperature", "cave", "1", "12.5", None, "2026-01-01T00:00:00Z"),
        ("line 4", "not a row"),
        ("line 5", "temperature", "cave", "1", "13", None, "2026-01-01T00:20:00Z"),
    ]
    lines = write(
        "export.lp",
        b"# DDL\nCREATE DATABASE x\n# DML\n"
        + b'climate,room=salon,sensor=n temperature=20.5,note="two\nlines" %d\n' % T0
        + b"half a line\nclimate,room=salon,sensor=n humidity=41 %d\nclimate,room=salon,sensor=n humidity=42\n" % T0,
    )
    rows = from_any_mark(importer(lines, precision="s"))
    assert said(rows) == [
        ("line 4", "temperature", "salon", "n", 20.5, None, Moment(T0 * 1000)),
        ("line 6", "not a line"),
        ("line 7", "humidity", "salon", "n", 41.0, None, Moment(T0 * 1000)),
        ("line 8", "no time"),
    ]


def test_a_long_file_of_lines_is_read_in_pieces_and_its_numbers_are_right(tmp_path: Path) -> None:
    path = tmp_path / "long.lp"
    path.write_bytes(
        b"".join(b"temperature,room=salon,sensor=s%d value=%d %d\n" % (n % 9, n % 30, n) for n in range(20_000))
    )
    rows = list(importer(path, precision="s").rows(12_345))
    assert [row.place for row in rows[:1]] == ["line 12346"]
    assert len(rows) == 20_000 - 12_345
    assert rows[-1].done == importer(path).size


ANNOTATED = """\
#group,false,false,true,true,false,false,true,true,true
#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string,string
#default,_result,,,,,,,,
,result,table,_start,_stop,_time,_value,_field,_measurement,location
,,0,2026-01-01T00:00:00Z,2026-01-02T00:00:00Z,2026-01-01T00:00:00Z,21.5,value,temperature,salon
,,0,2026-01-01T00:00:00Z,2026-01-02T00:00:00Z,2026-01-01T00:01:00Z,,value,temperature,salon

#group,false,false,false,false,true,true,true
#datatype,string,long,dateTime:RFC3339,double,string,string,string
#default,_result,,,,,,
,result,table,_time,_value,_field,_measurement,sensor_id
,,1,2026-01-01T00:00:00Z,61,humidity,climate,n
"""


def test_annotated_csv_has_a_header_for_each_table(tmp_path: Path) -> None:
    path = tmp_path / "answer.txt"
    path.write_text(ANNOTATED)
    assert said(from_any_mark(importer(path, fixed={"unit": "celsius"}))) == [
        ("line 5", "temperature", "salon", "temperature", 21.5, "celsius", Moment(1_767_225_600_000)),
        ("line 6", "not a row"),
        ("line 12", "humidity", "", "n", 61.0, "celsius", Moment(1_767_225_600_000)),
    ]


def recorder(path: Path) -> None:
    """A database with what the importer reads of one that Home Assistant makes."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "CREATE TABLE states (state_id INTEGER PRIMARY KEY, metadata_id INTEGER, state TEXT, last_updated_ts FLOAT,"
            " attributes_id INTEGER);"
            "CREATE TABLE states_meta (metadata_id INTEGER PRIMARY KEY, entity_id TEXT);"
            "CREATE TABLE state_attributes (attributes_id INTEGER PRIMARY KEY, shared_attrs TEXT);"
            "INSERT INTO states_meta VALUES (1, 'sensor.salon_temp'), (2, 'sun.sun'), (3, 'binary_sensor.door'),"
            " (4, 'sensor.weather');"
            """INSERT INTO state_attributes VALUES (1, '{"unit_of_measurement": "°F", "device_class": "temperature",
            "friendly_name": "Grand salon"}'), (2, '{"device_class": "door", "x": 3}'), (3, 'no JSON');"""
            "INSERT INTO states VALUES (5, 1, '70.7', 1790000000.25, 1), (6, 2, 'above', 1790000001, NULL),"
            " (7, 3, 'on', 1790000002.000999, 2), (8, 4, 'rainy', 1790000003, 3), (9, 1, 'unavailable', 1790000004, 1),"
            " (11, 1, '71', NULL, 1);"
        )


def test_the_states_of_home_assistant(tmp_path: Path) -> None:
    path = tmp_path / "home-assistant_v2.db"
    recorder(path)
    one = importer(path)
    assert isinstance(one, HomeAssistantImporter)
    rows = from_any_mark(one)
    assert said(rows) == [
        ("state 5", "temperature", "", "sensor.salon_temp", "70.7", "°F", 1_790_000_000_250),
        ("state 7", "door", "", "binary_sensor.door", "on", None, 1_790_000_002_000),
        ("state 9", "temperature", "", "sensor.salon_temp", "unavailable", "°F", 1_790_000_004_000),
        ("state 11", "no time"),
    ]
    assert isinstance(rows[0].said, list)
    assert rows[0].said[0].hints == ("Grand salon", "sensor.salon_temp")


@pytest.mark.parametrize(
    ("content", "said_of_it"),
    [
        (b"", "--format"),
        (b"\x00\x01\x02\x03", "--format"),
        (b"SQLite format 3\0 and no more", "home"),
        (b"#datatype,string\n,result,table,_x\n,,0,1\n", "without _time and _value"),
        (b"\x1f\x8b and no more", "can't be read"),
    ],
)
def test_what_is_no_such_file_is_said_in_a_line(tmp_path: Path, content: bytes, said_of_it: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=f"(?i){said_of_it}") as error:
        list(importer(path).rows())
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="can't be read"):
        importer(tmp_path / "none")


def test_half_a_packed_file_gives_what_it_has_and_says_that_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "half.lp.gz"
    whole = gzip.compress(b"".join(b"temperature,room=salon value=%d %d\n" % (n % 30, n * n) for n in range(200_000)))
    path.write_bytes(whole[: len(whole) // 2])
    found: list[Row] = []
    with pytest.raises(UsageError, match="to its end"):
        found.extend(importer(path).rows())
    assert len(found) > 10_000


@pytest.mark.parametrize("form", [None, "csv"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-be"])
def test_any_encoding_that_windows_writes_is_read(tmp_path: Path, encoding: str, form: str | None) -> None:
    path = tmp_path / "température.csv"
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path.write_bytes((mark + "sep=;\r\nDate;temperature:séjour:été\r\n28.11.2026;21,5\r\n").encode(encoding))
    assert said(from_any_mark(importer(path, form))) == [
        ("line 3", "temperature", "séjour", "été", "21.5", None, "2026-11-28T00:00")
    ]


PIVOTED = """\
#group,false,false,false,true,false,false,true,true
#datatype,string,long,dateTime:RFC3339,string,double,string,string,string
#default,_result,,,,,,,
,result,table,_time,_measurement,temperature,note,room,sensor
,,0,2026-01-01T00:00:00.123456789Z,climate,21.5,"two
lines",salon,n
,,0,2026-01-01T00:01:00Z,climate,,"a ""quote"" x",salon,n

#datatype,string,string
#group,true,true
#default,,
,error,reference
,the server is tired,897
"""


def test_a_row_may_be_a_point_and_an_answer_may_end_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "answer.csv"
    path.write_text(PIVOTED)
    found: list[Row] = []
    with pytest.raises(UsageError, match=r"line 13: it ends with an error: the server is tired"):
        found.extend(importer(path, columns={"room": "sensor", "sensor": "location"}).rows())
    assert said(found) == [
        ("line 6", "temperature", "n", "salon", 21.5, None, Moment(1_767_225_600_123)),
        ("line 7", "unknown type"),
    ]


def test_hours_of_home_assistant_are_no_readings(tmp_path: Path) -> None:
    path = tmp_path / "home-assistant_v2.db"
    states, statistics = make_database(path, T0 // 3600 * 3600, days=3, state_days=0.5, step_s=3600)
    one = importer(path)
    rows = list(one.rows())
    assert one.size == states + statistics == rows[-1].mark
    readings = [row for row in rows if isinstance(row.said, list) and row.said]
    hours = [hour for row in rows if isinstance(row.said, HourlySummaries) for hour in row.said.hours]
    assert (len(readings), len(hours)) == (states, statistics)
    for cut in (0, len(readings) // 2, len(readings) - 1):
        assert [row.mark for row in one.rows(rows[cut].mark)] == [row.mark for row in rows[cut + 1 :]]
    assert list(one.rows(one.size)) == []


JUNK = st.one_of(
    st.none(),
    st.sampled_from([0, -1, 2**63 - 1, -(2**63), 1e300, -1e300, math.inf, 5e-324, "", "nan", "1e999", "é"]),
    st.binary(max_size=3),
    st.text(st.characters(codec="utf-8"), max_size=3),
    st.just('{"friendly_name": "\\ud800", "unit_of_measurement": "\\udfff"}'),
    st.floats(allow_nan=False),
    st.just(T0 + 0.5),
    st.just("sensor.salon_temp"),
    st.just('{"unit_of_measurement": "°F", "device_class": "temperature"}'),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(*[JUNK] * 4), min_size=1, max_size=4), st.lists(st.tuples(*[JUNK] * 7), min_size=1, max_size=4)
)
def test_whatever_stands_in_a_database_of_home_assistant_can_be_handed_over_or_is_refused(
    states: list[tuple[Any, ...]], statistics: list[tuple[Any, ...]]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "home-assistant_v2.db"
        with closing(sqlite3.connect(path)) as db:
            db.executescript(
                "CREATE TABLE states (state_id INTEGER PRIMARY KEY, entity_id, state, last_updated_ts, attributes);"
                "CREATE TABLE statistics (id INTEGER PRIMARY KEY, metadata_id, start_ts, mean, min, max, state, sum);"
                "CREATE TABLE statistics_meta (id INTEGER PRIMARY KEY, statistic_id, unit_of_measurement, name);"
            )
            db.executemany("INSERT INTO states VALUES (NULL, ?, ?, ?, ?)", states)
            db.executemany("INSERT INTO statistics_meta VALUES (NULL, ?, ?, ?)", [its[:3] for its in statistics])
            db.executemany(
                "INSERT INTO statistics VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
                [(number, *its[1:]) for number, its in enumerate(statistics, start=1)],
            )
            db.commit()

        for row in importer(path).rows():
            if isinstance(row.said, HourlySummaries):
                json.dumps(row.said.as_dict(), allow_nan=False).encode()
            elif not isinstance(row.said, Refused):
                finite = [one for one in row.said if not isinstance(one.value, float) or math.isfinite(one.value)]
                listed(json.loads(json.dumps([as_dict(one) for one in finite], allow_nan=False)))
