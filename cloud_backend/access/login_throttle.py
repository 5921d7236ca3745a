"""Throttle of password sign-ins: the rules, without clock, network or store.

- From one address `FREE_TRIES` wrong ones cost nothing; each further one doubles the wait before the next
  try, from `FIRST_WAIT_S` to `LAST_WAIT_S`. All addresses together have the same with more room and a
  shorter wait, so that many addresses gain little and cannot keep the owner out for long.
- A try counts as wrong from the moment it begins, so that a hundred at once are no way around.
- A browser in which someone has signed in before (by its device cookie) has a count of its own: neither
  its address nor all others keep it out, and it does not count among all.
- A right one clears its address, and takes back its own count among all. Who is quiet for `FORGET_S` is
  forgotten. A try that must wait is not counted.
- At most `ADDRESSES` are remembered; the one that was quiet longest gives way. IPv6 counts by /64, which
  is what one household or server has.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass

FREE_TRIES = 3
FIRST_WAIT_S = 1.0
LAST_WAIT_S = 900.0
FREE_TRIES_OF_ALL = 30
LAST_WAIT_OF_ALL_S = 30.0
FORGET_S = 3600.0
ADDRESSES = 10_000
_S = 1_000_000_000


@dataclass(slots=True)
class _Count:
    """Wrong attempts of one address, or of all."""

    free: int
    last_wait_s: float
    wrong: int = 0
    latest_ns: int = 0

    def wait_ns(self, now_ns: int) -> int:
        """Wait until the next attempt may begin."""
        over = self.wrong - self.free
        if over < 0:
            return 0
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(over, 60), self.last_wait_s)
        return max(0, self.latest_ns + int(wait_s * _S) - now_ns)

    def begin(self, now_ns: int) -> None:
        self.wrong += 1
        self.latest_ns = now_ns

    def is_over(self, now_ns: int) -> bool:
        return now_ns - self.latest_ns >= FORGET_S * _S


class LoginThrottle:
    """The wrong attempts of the last hour. Not for several threads at once."""

    def __init__(self) -> None:
        self._by_address: OrderedDict[str, _Count] = OrderedDict()  # the latest last
        self._all = _Count(FREE_TRIES_OF_ALL, LAST_WAIT_OF_ALL_S)

    def __len__(self) -> int:
        return len(self._by_address)

    def begin(self, address: str, now_ns: int, device: str = "") -> int:
        """Begin an attempt: 0, or the whole seconds to wait (then it has not begun)."""
        self._forget(now_ns)
        key = _key(address, device)
        count = self._by_address.get(key) or _Count(FREE_TRIES, LAST_WAIT_S)
        wait_ns = max(count.wait_ns(now_ns), 0 if device else self._all.wait_ns(now_ns))
        if wait_ns:
            return math.ceil(wait_ns / _S)
        count.begin(now_ns)
        if not device:
            self._all.begin(now_ns)
        self._by_address[key] = count
        self._by_address.move_to_end(key)
        if len(self._by_address) > ADDRESSES:
            self._by_address.popitem(last=False)
        return 0

    def succeeded(self, address: str, device: str = "") -> None:
        """Count the attempt as right."""
        self._by_address.pop(_key(address, device), None)
        if not device:
            self._all.wrong = max(0, self._all.wrong - 1)

    def _forget(self, now_ns: int) -> None:
        while self._by_address:
            key, count = next(iter(self._by_address.items()))
            if not count.is_over(now_ns):
                break
            del self._by_address[key]
        if self._all.is_over(now_ns):
            self._all.wrong = 0


def _key(address: str, device: str) -> str:
    return f"device {device}" if device else key_of(address)


def key_of(address: str) -> str:
    """Key under which an address is counted."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
