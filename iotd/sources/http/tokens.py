"""Who may hand readings over by HTTP: tokens of a file, compared by their digests."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from contextlib import suppress
from pathlib import Path

from iotd.model.errors import ConfigError
from iotd.ops.systemerrors import said

_SHORTEST = 16
"""Characters: what is shorter can be guessed."""


class Tokens:
    """The tokens of a file, one a line: the token, or a name, a colon and the token; `#` begins a comment.

    The file is read again when it has changed, so that a token can be given or taken without a reload.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ConfigError: the file can't be read, or holds no token that will do.
        """
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._names: dict[bytes, str] = {}
        self._reread()

    def owner(self, token: str) -> str | None:
        """The name that a token has in the file, or its line's number; None: it is none of them."""
        with suppress(ConfigError):  # half written, or away for a moment: those that were good are good
            self._reread()
        digest = _digest(token)
        found = None
        for known, name in self._names.items():  # each is compared, so that the time tells nothing
            if hmac.compare_digest(known, digest):
                found = name
        return found

    def _reread(self) -> None:
        try:
            stat = self._path.stat()
            seen = stat.st_ino, stat.st_size, stat.st_mtime_ns
            if seen == self._seen:
                return
            text = self._path.read_text(encoding="utf-8")
        except (OSError, ValueError) as e:
            reason = said(e) if isinstance(e, OSError) else "it is not UTF-8"
            raise ConfigError(f"ingest.tokens_file: {self._path} can't be read ({reason})") from None
        names = {}
        for number, line in enumerate(text.splitlines(), start=1):
            name, colon, token = line.partition("#")[0].strip().rpartition(":")
            if not token:
                continue
            if len(token.strip()) < _SHORTEST:
                raise ConfigError(
                    f"ingest.tokens_file: {self._path}, line {number}: a token has at least {_SHORTEST} characters; "
                    "`openssl rand -hex 24` makes one"
                )
            names[_digest(token.strip())] = name.strip() if colon else f"line {number}"
        if not names:
            raise ConfigError(f"ingest.tokens_file: {self._path} holds no token; write one a line")
        self._names, self._seen = names, seen


def token_of(authorization: str | None, user: str | None, password: str | None) -> str | None:
    """The token in a request, as the clients of InfluxDB 1 and 2 send it; None where there is none.

    Args:
        authorization: the header: ``Token …``, ``Bearer …``, or ``Basic …`` whose password is the token.
        user, password: ``u`` and ``p`` of the URL.
    """
    if authorization:
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() in ("token", "bearer"):
            # InfluxDB 1.8 takes "Token user:password" too
            return rest.strip().rpartition(":")[2] or None
        if scheme.lower() == "basic":
            try:
                return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2] or None
            except (binascii.Error, ValueError):
                return None
    return password or None if user is not None or password is not None else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
