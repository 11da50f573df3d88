"""TLS contexts: made once, and anew when their files were exchanged."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from time import perf_counter

import pytest

from iotd.config.sections.servers import Redis
from iotd.ops.tls import tls_context
from tests.servers.certificates import tls_settings


async def test_a_context_is_made_once_and_again_when_a_file_was_exchanged(tmp_path: Path) -> None:
    tables = tls_settings(tmp_path)["redis"]
    credentials = Redis.model_validate(tables)
    first, second = await asyncio.gather(tls_context(credentials), tls_context(credentials))
    assert first is second is await tls_context(Redis.model_validate(tables))
    assert (first.verify_mode, first.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(first.get_ca_certs()) == 1  # not the system's beside it
    renewed = tmp_path / "renewed"
    renewed.write_bytes(Path(tables["tls_cert_file"]).read_bytes())
    os.replace(renewed, tables["tls_cert_file"])
    third = await tls_context(credentials)
    assert third is not first
    assert await tls_context(credentials) is third


async def test_without_a_file_the_systems_certificates_are_trusted_and_loading_them_stalls_nobody() -> None:
    longest, last = 0.0, perf_counter()
    made = asyncio.ensure_future(tls_context(Redis(tls=True)))
    while not made.done():
        await asyncio.sleep(0)
        longest, last = max(longest, perf_counter() - last), perf_counter()
    assert (await made).verify_mode == ssl.CERT_REQUIRED
    assert longest < 1  # a limit, not a measurement
    assert await tls_context(Redis(tls=True)) is await made


async def test_a_file_that_is_no_certificate_is_an_error_that_says_so(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate")
    for path, error in ((wrong, ssl.SSLError), (tmp_path / "missing.pem", FileNotFoundError)):
        with pytest.raises(error):
            await tls_context(Redis(tls=True, tls_ca_file=path))
