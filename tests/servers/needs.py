"""What a test needs of this machine: skipped with the reason, or failed where it is required."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(what: str, reason: str) -> NoReturn:
    """Skips the test for want of ``what``; fails it when ``IOTD_TEST_REQUIRE`` names it (a list with commas)."""
    if what in os.environ.get("IOTD_TEST_REQUIRE", "").split(","):
        pytest.fail(f"{what} is required and not to be had: {reason}", pytrace=False)
    pytest.skip(f"needs {what}: {reason}")
