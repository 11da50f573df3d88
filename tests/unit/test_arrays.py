"""Array helpers do what NumPy's do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from iotd.model.arrays import among, distinct


@given(st.lists(st.integers(-(2**31), 2**31 - 1)))
def test_each_value_once_rising(values: list[int]) -> None:
    assert distinct(np.array(values, np.int32)).tolist() == sorted(set(values))


@given(st.lists(st.floats(allow_nan=False)))
def test_doubles_too(values: list[float]) -> None:
    assert distinct(np.array(values, np.float64)).tolist() == sorted(set(values))


@given(st.lists(st.integers(-50, 50)), st.lists(st.integers(-50, 50)))
def test_which_are_among_others(values: list[int], wanted: list[int]) -> None:
    found = among(np.array(values, np.int64), np.array(wanted, np.int64))
    assert found.tolist() == [value in wanted for value in values]


def test_it_loads_no_masked_arrays() -> None:
    code = "import sys, numpy as np; from iotd.model.arrays import among, distinct; "
    code += "among(distinct(np.arange(3)), np.arange(9)); "
    code += "print('numpy.ma' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
