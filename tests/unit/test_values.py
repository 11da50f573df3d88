"""Durations, addresses and lists of names, as people write them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ByteSize, TypeAdapter

from iotd.config.values import Address, format_duration, format_size, is_loopback, parse_duration, parse_names


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("1s", 1_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("1h 30m", 5_400_000),
        (" 8d ", 691_200_000),
        ("2w", 1_209_600_000),
        ("1.5s", 1_500),
        ("90", 90_000),
        (90, 90_000),
        (0.25, 250),
        (0, 0),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: Any, ms: int) -> None:
    assert parse_duration(text) == timedelta(milliseconds=ms)


@given(st.integers(0, 2**50) | st.integers(0, 5000).map(lambda n: n * 1024**3))
def test_a_size_is_shown_as_it_may_be_written(size: int) -> None:
    assert TypeAdapter(ByteSize).validate_python(format_size(size)) == size


@pytest.mark.parametrize(("size", "text"), [(20 * 1024**2, "20MiB"), (1024**3, "1GiB"), (1500, "1500B"), (0, "0B")])
def test_a_size_is_shown_in_the_largest_unit_that_divides_it(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    "wrong", ["", "soon", "5 minutes", "5M", "1.5.2", "-5s", "²", "5m!", -1, True, "1e3", float("nan"), None]
)
def test_what_is_no_duration_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(wrong)


@pytest.mark.parametrize("endless", [float("inf"), "99999999999999d", 1e30, "9" * 400])
def test_a_duration_without_end_is_refused_and_not_a_crash(endless: Any) -> None:
    with pytest.raises(ValueError, match="century"):
        parse_duration(endless)


@given(st.integers(0, 100 * 365 * 86_400_000))
def test_a_duration_that_is_written_is_read_back(ms: int) -> None:
    duration = timedelta(milliseconds=ms)
    assert parse_duration(format_duration(duration)) == duration


hosts = st.from_regex(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", fullmatch=True) | st.ip_addresses().map(str)


@given(hosts, st.integers(1, 65535))
def test_an_address_that_is_written_is_read_back(host: str, port: int) -> None:
    address = Address(host, port)
    assert Address.parse(str(address)) == address
    assert Address.parse(address) is address


@pytest.mark.parametrize("wrong", ["", "localhost", ":6379", "localhost:", "localhost:0", "localhost:65536", "h:port"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        Address.parse(wrong)


@pytest.mark.parametrize("text", ["salon,cuisine", " salon , cuisine", '["salon", "cuisine"]'])
def test_a_list_of_names_is_read_with_commas_or_as_json(text: str) -> None:
    assert parse_names(text) == ["salon", "cuisine"]


@pytest.mark.parametrize(
    ("place", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1:6379", True),
        ("localhost", True),
        ("LocalHost.:9108", True),
        ("grafana.localhost", True),
        ("::1", True),
        ("[::1]:8086", True),
        ("http://[::1]:8086/api", True),
        ("https://influx.localhost", True),
        ("http://localhost:8086", True),
        ("0.0.0.0", False),
        ("::", False),
        ("[fe80::1]:80", False),
        ("192.168.1.4:6379", False),
        ("localhost.example.org", False),
        ("notlocalhost", False),
        ("http://localhost@example.org", False),
        ("http://[nonsense", False),
        ("", False),
    ],
)
def test_loopback_is_known_by_address_name_and_url(place: str, local: bool) -> None:
    assert is_loopback(place) is local
