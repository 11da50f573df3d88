"""The errors of iotd: one tree, whose leaves carry what to do about them.

``retriable``   the same call may succeed later, unchanged
``rediscover``  it may succeed at once, on another node: ask the watcher which one is master now
``exit_code``   what the command line ends with when this reaches it (sysexits.h)
"""

from __future__ import annotations

from typing import ClassVar


class IotdError(Exception):
    """Something iotd can name. The message says what happened, to what, and what to do."""

    retriable: ClassVar[bool] = False
    rediscover: ClassVar[bool] = False
    exit_code: ClassVar[int] = 70  # EX_SOFTWARE


class UsageError(IotdError):
    """The command or call itself is wrong: an unknown node, location or time."""

    exit_code = 64  # EX_USAGE


class ConfigError(IotdError):
    """The configuration can't be used; nothing mends this but an edit."""

    exit_code = 78  # EX_CONFIG


class StateError(IotdError):
    """The state directory can't be used: held by another iotd, unreadable, damaged."""

    exit_code = 73  # EX_CANTCREAT


class StateUnwritable(StateError):
    """The state directory takes no writes at present: full, read-only, or no descriptor is left."""

    retriable = True


class LogFull(StateError):
    """The log has no room for more readings of a location: its shard or its archive takes none."""

    retriable = True


class StackError(IotdError):
    """A server could not be started, stopped or reached by the stack."""

    exit_code = 69  # EX_UNAVAILABLE


class ShardError(IotdError):
    """One location's Redis did not do what it was asked; it is asked again, and the other locations go on."""

    retriable = True
    exit_code = 69


class ShardUnavailable(ShardError):
    """No answer, a broken connection, or a node that is loading or out of memory."""


class NotMaster(ShardError):
    """The node does not (any longer) accept writes: another one is master, or soon will be."""

    rediscover = True


class ShardMisconfigured(ShardError):
    """The node answers, and will go on refusing until someone changes it: credentials, no TimeSeries module."""


class ShardForeign(ShardMisconfigured):
    """The node belongs to another location, or to another system: nothing is read from it nor written to it."""


class ArchiveError(IotdError):
    """The archive did not take or give what it was asked."""

    exit_code = 69


class ArchiveUnavailable(ArchiveError):
    """The archive can't answer now: network, 5xx, 429. ``retry_after`` is in seconds, when the server named it."""

    retriable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ArchiveMissing(ArchiveUnavailable):
    """There is no archive where it should be: none was made yet, or it was moved away, or is on another machine."""


class ArchiveRefused(ArchiveError):
    """The archive refuses us until someone mends the token, organisation or bucket: hold, never drop."""

    retriable = True


class ArchiveRejected(ArchiveError):
    """The archive refuses these very points (400, 422), whoever sends them and whenever.

    ``dropped`` says how many it dropped, when the server named it; the others are stored.
    """

    def __init__(self, message: str, dropped: int | None = None) -> None:
        super().__init__(message)
        self.dropped = dropped


class ArchiveUnverifiable(ArchiveError):
    """The archive takes what it is sent, and can't be asked what it holds: no Flux, or a token that may not read."""


class ArchiveTooLarge(ArchiveError):
    """The body was larger than the archive accepts (413): send it in halves."""


class Refused(IotdError):
    """A reading can't be taken as it is: it is held with the reason, and can be taken when that is gone.

    ``reason`` is one of a few, for counting; ``detail`` says what was there and what was expected.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Ignored(Refused):
    """It is no sensor's, as somebody has said: neither taken nor held."""
