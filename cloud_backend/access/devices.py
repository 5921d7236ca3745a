"""Device cookies: a browser in which someone has signed in before is known again.

The cookie lets nobody in. It only exempts a known browser from the brake that wrong passwords of all others
cause (`cloud_backend.access.login_throttle`), and gives it a count of its own. It is a random id and the time
of its end, signed with a key of this cloud.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from common.clock import Clock

LIFE_S = 365 * 86400
_LENGTH_LIMIT = 200


class Devices:
    """Makes and reads device cookies with the secret ``key``."""

    def __init__(self, key: str, clock: Clock) -> None:
        self._key = key.encode()
        self._clock = clock

    def make(self) -> str:
        """A new cookie."""
        text = f"{secrets.token_urlsafe(16)}.{self._clock() // 1_000_000_000 + LIFE_S}"
        return f"{text}.{self._signature(text)}"

    def read(self, cookie: str) -> str:
        """The id of a cookie that was made here and has not ended; else empty."""
        text, _, signature = cookie[:_LENGTH_LIMIT].rpartition(".")
        if not cookie.isascii() or not hmac.compare_digest(signature, self._signature(text)):
            return ""
        name, _, ends_s = text.partition(".")
        return name if self._clock() // 1_000_000_000 < int(ends_s) else ""

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
