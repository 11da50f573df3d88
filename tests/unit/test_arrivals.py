"""What comes without a time gets one that nothing of its sensor has, whether it can be taken or not."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from iotd.intake.arrivals import Arrivals
from iotd.model.errors import Refused
from iotd.model.instants import NEVER
from iotd.model.observation import Observation, Piece, Pieces

NOW = 1_790_000_000_000
LAST = 300_000
WHY = Refused("unknown location", "x")
SENSORS = 3

Values = list[tuple[int, bool]]
"""Of each value of a piece the sensor, and whether it can be taken."""

values = st.lists(st.tuples(st.integers(0, SENSORS - 1), st.booleans()), min_size=1, max_size=4)
# the topic of a piece, and its values; None: it is not understood
pieces = st.lists(st.tuples(st.integers(0, 2), st.none() | values), max_size=6)


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(0, 6), pieces), max_size=8))
def test_no_two_have_one_time_and_the_same_once_more_has_the_times_that_it_had(
    said: list[tuple[int, list[tuple[int, Values | None]]]],
) -> None:
    newest = dict.fromkeys(range(SENSORS), NEVER)
    arrivals, fresh = Arrivals(newest.__getitem__), Arrivals(lambda number: NEVER)
    by_sensor = defaultdict[int, list[int]](list)
    of_topic = defaultdict[int, list[int]](list)
    unknown = defaultdict[int, list[int]](list)
    now = NOW
    for later, its in said:
        now += later
        messages = [Pieces([_piece(nth, *one) for nth, one in enumerate(its)])]
        columns = messages[0].columns()
        whole = [(topic, *one) for topic, values in its for one in values or ()]
        places = [place for place, (_, _, take) in enumerate(whole) if take]
        numbers = [whole[place][1] for place in places]
        refused = {place: WHY for place, (_, _, take) in enumerate(whole) if not take}
        stamping = arrivals.stamping(messages, columns, now, now + LAST)
        times = stamping(places, numbers, refused)
        assert all(now <= time <= now + LAST for time in times)

        # as it is known by a key, it may come again after any other
        by_key = [one.stamping(messages, columns, now, now + LAST, again=True) for one in (arrivals, fresh)]
        assert by_key[0](places, numbers, refused) == by_key[1](places, numbers, refused)
        assert by_key[0].things == by_key[1].things

        for place, time in zip(places, times, strict=True):
            topic, sensor, _ = whole[place]
            newest[sensor] = max(newest[sensor], time)
            by_sensor[sensor].append(time)
            of_topic[topic].append(time)
        for part, arrived in {(thing.part, thing.arrived) for thing in stamping.things}:  # each is held once
            topic, found = its[int(part.payload)]
            if found is None:
                unknown[topic].append(arrived)
                continue
            concerned = int(part.sensor.split()[-1]) if part.sensor else found[0][0]
            nth = [take for sensor, take in found if sensor == concerned]
            by_sensor[concerned] += (ones := [arrived + n for n, take in enumerate(nth) if not take])
            of_topic[topic] += ones
    for ones in by_sensor.values():
        assert len(ones) == len(set(ones))
    for topic, ones in unknown.items():
        assert len(ones) == len(set(ones))
        assert not {*ones} & {*of_topic[topic]}


def _piece(number: int, topic: int, values: Values | None) -> Piece:
    said = [Observation("temperature", str(sensor), 20) for sensor, _ in values or ()]
    return Piece("mqtt", str(topic), b"%d" % number, said, WHY if values is None else None)
