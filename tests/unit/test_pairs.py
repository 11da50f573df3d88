from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given

from iotd.wire.pairs import arrays

# as Redis prints doubles: up to 17 digits, with an exponent where that is shorter, NaN and infinities by name
_FORMS = ("{:.17g}", "{:.15g}", "{!r}", "{:.2f}", "{:.0f}", "{:E}")
_TEXTS = st.tuples(st.floats(), st.sampled_from(_FORMS)).map(lambda one: one[1].format(one[0]))
_ROUNDED = st.decimals(-(10**9), 10**9, places=2).map(str)
_TIMES = st.integers(0, 2**62)


def _pairs(samples: list[tuple[int, str]]) -> bytes:
    return b"".join(b"*2\r\n:%d\r\n+%b\r\n" % (time, value.encode()) for time, value in samples)


@given(st.lists(st.tuples(_TIMES, _TEXTS | _ROUNDED), max_size=30))
@example([(0, "0"), (1, "-0"), (10, "-0.5"), (999, "21.45"), (1000, "1e-07"), (1001, "1E+25"), (1002, "NaN")])
@example([(1_790_000_000_000, "123456789012345"), (1_790_000_000_001, "1234567890123456.7"), (2, ".5"), (3, "5.")])
def test_every_number_is_the_one_that_its_text_reads_as(samples: list[tuple[int, str]]) -> None:
    times, values = arrays(_pairs(samples))

    assert times.tolist() == [time for time, _ in samples]
    wanted = np.array([float(value) for _, value in samples], np.float64)
    assert values.tobytes() == wanted.tobytes()  # to the last bit, and the sign of a zero


def test_what_is_no_number_is_an_error_and_never_another_number() -> None:
    with pytest.raises(ValueError, match="2x5"):
        arrays(_pairs([(1, "21.5"), (2, "2x5")]))
