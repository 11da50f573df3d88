"""Many lines at once: what is found is what each line says by itself, however often it was seen before."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iotd.intake.resolve import Resolver
from iotd.model.observation import Moment, Names
from iotd.model.types import BUILT_IN, SensorType
from iotd.sources.http.linereader import LineReader, Lines
from iotd.sources.http.lines import lines, pieces

NAMES = Resolver(BUILT_IN, {"salon": ()}, {})
READER = LineReader()


def read(body: str, names: Names = NAMES) -> Lines:
    return LineReader().read(body.encode(), "/write", "ns", names)


def one_by_one(body: bytes, precision: str) -> tuple[list[object], list[object]]:
    """What the lines say, and what of them is refused."""
    said: list[object] = []
    refused: list[object] = []
    for line in lines(body, precision, NAMES):
        if line.refused is not None:
            refused.append((line.number, line.text, line.refused.reason, line.refused.detail))
        for one in line.said:
            time = one.time.ms if isinstance(one.time, Moment) else one.time
            said.append((line.number, one.subject, one.value, type(one.value) is bool, time))
    return said, refused


def at_once(body: bytes, precision: str, reader: LineReader) -> tuple[list[object], list[object]]:
    found = reader.read(body, "t", precision, NAMES)
    columns = found.columns()
    rows = zip(found.numbers, columns.which, columns.values, columns.times, strict=True)
    said: list[object] = [
        (number, columns.subjects[which], value, type(value) is bool, time) for number, which, value, time in rows
    ]
    refused: list[object] = [
        (int(part.topic.split()[-1]), part.payload, why.reason, why.detail) for _, part, why in found.refused()
    ]
    return said, refused


heads = st.sampled_from(
    ["temperature,room=salon", "t", "°C,id=a", "a\\ b,c=d", "#x", "", " t", "co2,id=1,id=2", "t,x="]
)
names = st.sampled_from(
    ["value", "state", "humidity", "temperature_F", "unit", "battery_level", "x", "a\\,b", "", "device_class_str"]
)
numbers = st.one_of(st.floats(allow_nan=True).map(repr), st.integers().map("{}i".format), st.integers().map(str))
words = st.sampled_from(
    ["true", "f", "12u", "-3u", "1.", ".5", "1_0", "+1", "nan", "1e5", '"w"', '"a\nb"', "", "-",
     '"a b,c=1 2"', '"', '""', '"temperature"', '"°F"', '"21.5"', '"a\\"b"']
)  # fmt: skip
fields = st.tuples(names, st.one_of(numbers, words)).map("=".join)
stamps = st.one_of(
    st.just(""), st.integers(-(2**66), 2**66).map(" {}".format), st.sampled_from([" x", " 1 2", "\r", " 5\r"])
)
line = st.builds(lambda h, f, t: f"{h} {','.join(f)}{t}", heads, st.lists(fields, min_size=1, max_size=3), stamps)
closed = line.filter(lambda text: text.replace('\\"', "").count('"') % 2 == 0)
"""In which no quoted text is left open: where that goes on, nobody can tell."""


@given(st.lists(line, max_size=12).map("\n".join), st.sampled_from(["ns", "s"]))
@example("temperature,room=salon value=1 9223372036854775808", "ns")
@example("t value=1,value=2\nt value=3", "ns")
@example("t humidity=1,x=2\nt humidity=x,x=2\nt humidity=1,x=y", "ns")
def test_a_body_says_what_its_lines_say(body: str, precision: str) -> None:
    expected = one_by_one(body.encode(), precision)
    assert at_once(body.encode(), precision, LineReader()) == expected
    assert at_once(body.encode(), precision, READER) == expected, "whatever it has learned before"


@given(st.binary(max_size=200))
def test_any_bytes_say_what_they_say_line_by_line(body: bytes) -> None:
    assert at_once(body, "ns", READER) == one_by_one(body, "ns")


def test_what_is_held_of_a_line_is_the_line() -> None:
    found = read('t,id=1 temperature=1,humidity=2\nhalf a li\nt,id=1 temperature=3\nt note="a\nb",temperature=4')
    assert [found.part(at)[1:4] for at in range(4)] == [
        ("/write line 1", b"t,id=1 temperature=1,humidity=2", "humidity 1"),
        ("/write line 1", b"t,id=1 temperature=1,humidity=2", "temperature 1"),
        ("/write line 3", b"t,id=1 temperature=3", ""),
        ("/write line 4", b't note="a\nb",temperature=4', ""),
    ]
    assert [part.topic for _, part, _ in found.refused()] == ["/write line 2"]


def test_names_that_are_new_are_found_at_once() -> None:
    reader = LineReader()
    body = b"t,id=1 radon=1"
    more = Resolver(BUILT_IN.extended({"radon": SensorType("radon", "bq")}), {}, {})
    assert [reader.read(body, "", "ns", NAMES).columns().which for _ in range(2)] == [[0], [0]]
    subject = reader.read(b"t,id=1 state=1,radon=2", "", "ns", NAMES).columns().subjects[1:]
    assert [one.type for one in subject] == ["t"]
    found = reader.read(b"t,id=1 state=1,radon=2", "", "ns", more).columns()
    assert {found.subjects[which].type for which in found.which} == {"t", "radon"}


@pytest.mark.parametrize("count", [3, 250_000])
def test_what_is_remembered_is_bounded(count: int) -> None:
    reader = LineReader()
    for begin in range(0, count, 50_000):
        body = "\n".join(f"t,id={n} value=1" for n in range(begin, min(count, begin + 50_000)))
        assert len(reader.read(body.encode(), "", "ns", NAMES)) == min(count, begin + 50_000) - begin
    assert len(reader.known) <= 150_000


text = st.text(alphabet='t v=1"\\\n,é', max_size=300).map(str.encode)


@given(text, st.integers(1, 60))
def test_pieces_are_the_body_and_each_ends_behind_a_line(body: bytes, size: int) -> None:
    cut = list(pieces(body, size))
    assert b"".join(cut) == body
    assert all(piece.endswith(b"\n") for piece in cut[:-1])


@given(st.lists(closed, max_size=20).map("\n".join), st.integers(20, 400))
def test_a_body_in_pieces_says_what_it_says_as_a_whole(body: str, size: int) -> None:
    said: list[object] = []
    before = 0
    for piece in pieces(body.encode(), size):
        found = LineReader().read(piece, "t", "ns", NAMES, before=before)
        columns = found.columns()
        said += [(found.part(at).topic, columns.subjects[columns.which[at]]) for at in range(len(found))]
        said += [part.topic for _, part, _ in found.refused()]
        before += piece.count(b"\n")
    at_once = LineReader().read(body.encode(), "t", "ns", NAMES)
    columns = at_once.columns()
    expected: list[object] = [
        (at_once.part(at).topic, columns.subjects[columns.which[at]]) for at in range(len(at_once))
    ]
    expected += [part.topic for _, part, _ in at_once.refused()]
    assert sorted(map(repr, said)) == sorted(map(repr, expected))
