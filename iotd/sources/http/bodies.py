"""The bodies of requests: read whole, within bounds of size and time, whatever they were compressed with."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from iotd.model.errors import IotdError

_GZIP, _ZLIB = 31, 15
"""``wbits`` of zlib for the two."""


class BodyTooLarge(IotdError):
    """More bytes than are taken at once, as they came or unpacked: to be sent in parts."""


class BodyBroken(IotdError):
    """It can't be unpacked, or it ended before its end."""


class BodySlow(IotdError):
    """It did not come within the time."""


class NoRoom(IotdError):
    """Bodies of other requests take all the memory there is for them: to be sent again."""


@dataclass(slots=True)
class Room:
    """Memory for the bodies of all requests together; ``left``: bytes."""

    left: int


class Share:
    """What one request has of it."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def take(self, size: int) -> None:
        """Takes so many bytes more.

        Raises:
            NoRoom: there are not as many.
        """
        if size > self._room.left:
            raise NoRoom("other requests take all the memory there is for bodies now")
        self._room.left -= size
        self._taken += size

    def give_back(self) -> None:
        """The request is done."""
        self._room.left += self._taken
        self._taken = 0


async def whole(parts: AsyncIterator[bytes], encoding: str, *, limit: int, seconds: float, share: Share) -> bytes:
    """A body.

    Args:
        encoding: as the header Content-Encoding has it.
        limit: bytes, of what came and of what it unpacks to; nothing beyond it is kept.
        seconds: until all of it has come.
        share: takes its bytes.

    Raises:
        BodyTooLarge, BodyBroken, BodySlow, NoRoom: why there is none.
    """
    match encoding.strip().lower():
        case "" | "identity":
            unpack = None
        case "gzip" | "x-gzip":
            unpack = zlib.decompressobj(_GZIP)
        case "deflate":
            unpack = zlib.decompressobj(_ZLIB)
        case other:
            raise BodyBroken(f"can't unpack {other[:40]!r}; send gzip, deflate, or plain")
    found = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in parts:
                before = len(found)
                _add(found, part, unpack, limit)
                share.take(len(found) - before)
    except TimeoutError:
        raise BodySlow(f"the body did not come within {seconds:g} s") from None
    except zlib.error as e:
        raise BodyBroken(f"the body can't be unpacked ({e})") from None
    if unpack is not None and not unpack.eof:
        raise BodyBroken("the packed body ends before its end")
    return bytes(found)


def _add(found: bytearray, part: bytes, unpack: zlib._Decompress | None, limit: int) -> None:
    if unpack is None:
        found += part
    else:
        while part:
            # one byte more than may be there says that there is more; the rest of a bomb is never unpacked
            found += unpack.decompress(part, limit + 1 - len(found))
            if len(found) > limit:
                break
            part = unpack.unconsumed_tail
            if unpack.eof:
                if unpack.unused_data:
                    raise BodyBroken("bytes follow the end of the packed body")
                break
    if len(found) > limit:
        raise BodyTooLarge(f"more than {limit} bytes; send it in parts")
