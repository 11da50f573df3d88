"""What InfluxDB's answers mean for what was asked (seen on 2.7; facts of others where they differ)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from iotd.config.sections.storing import InfluxDB
from iotd.model.errors import (
    ArchiveError,
    ArchiveRefused,
    ArchiveRejected,
    ArchiveTooLarge,
    ArchiveUnavailable,
    ArchiveUnverifiable,
)
from iotd.stores.influxdb.http import Answer

_LONGEST_RETRY_AFTER_S = 600.0
_NO_FLUX = re.compile(r"unsupported path|not supported|not implemented|unimplemented", re.I)


def write_error(answer: Answer, url: str, influx: InfluxDB) -> ArchiveError:
    """Why a write was not taken.

    400: nothing of it was written. 422: the points that are good were, and the message says how many were dropped.
    """
    status, said = answer.status, answer.said
    where = f"{url} answered {status}"
    if status in (401, 403, 404):
        return refusal(answer, url, influx)
    if status == 413:
        return ArchiveTooLarge(f"{where}: {said}")
    if status in (400, 422):
        dropped = re.search(r"dropped=(\d+)", said) if status == 422 else None
        return ArchiveRejected(f"{where}: {said}", int(dropped[1]) if dropped else None)
    if 200 <= status < 400:
        return ArchiveUnavailable(f"{where} to a write, which is neither 204 nor an error; is it an InfluxDB 2?")
    return ArchiveUnavailable(f"{where}: {said}", retry_after(answer))


def delete_error(answer: Answer, url: str, influx: InfluxDB) -> ArchiveError:
    """Why nothing was deleted, or not all of it: never the fault of a point, so that it is tried until it is done."""
    status, said = answer.status, answer.said
    if status in (401, 403, 404):
        return refusal(answer, url, influx)
    where = f"{url} answered {status} to a deletion: {said}"
    if status in (400, 405, 422, 501):
        return ArchiveRefused(f"{where}; is it an InfluxDB 2?")
    return ArchiveUnavailable(where, retry_after(answer))


def query_error(answer: Answer, url: str, influx: InfluxDB) -> ArchiveError:
    """Why a query was not answered: never the fault of a point, and never a reason to stop archiving."""
    status, said = answer.status, answer.said
    where = f"{url} answered {status} to a query: {said}"
    if status == 401 or (status == 400 and "organization" in said):
        return refusal(answer, url, influx)
    if status == 403 or (status == 404 and "bucket" in said):
        return ArchiveUnverifiable(f"{where}; the token may write the bucket {influx.bucket!r}, and not read it")
    if status in (404, 405, 501) or (status == 400 and _NO_FLUX.search(said)):
        return ArchiveUnverifiable(f"{where}; this server answers no Flux")
    return ArchiveUnavailable(where, retry_after(answer))


def refusal(answer: Answer, url: str, influx: InfluxDB) -> ArchiveRefused:
    """What someone has to mend."""
    where = f"{url} answered {answer.status}: {answer.said}"
    if answer.status == 401:
        return ArchiveRefused(f"{where}; the token is wrong or has expired: check influxdb.token_file")
    if answer.status == 403:
        return ArchiveRefused(f"{where}; the token may not use the bucket {influx.bucket!r}")
    if "organization" in answer.said:
        return ArchiveRefused(f"{where}; there is no organisation {influx.org!r}: check influxdb.org")
    if "bucket" in answer.said:
        return ArchiveRefused(f"{where}; the bucket {influx.bucket!r} is missing: make it, or check influxdb.bucket")
    return ArchiveRefused(f"{where}; is there an InfluxDB 2 at influxdb.url?")


def retry_after(answer: Answer) -> float | None:
    """Seconds, from either form of the header (RFC 9110, 10.2.3)."""
    text = answer.headers.get("Retry-After")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(0.0, seconds), _LONGEST_RETRY_AFTER_S)
