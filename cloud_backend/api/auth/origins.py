"""Where a browser's request comes from, and where a browser may be sent: rules without I/O.

A browser sends its cookie with whatever another page makes it ask, so a request that rests on the cookie
must come from our own pages. Browsers say so by ``Origin``, which no page can forge; where an old one sends
none, ``Sec-Fetch-Site`` must say ``same-origin``.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

HOME = "/ui/"
SIGN_IN = "/sign-in"
SIGN_OUT = "/sign-out"
FOREIGN = ("cross-site", "same-site")
"""Words of ``Sec-Fetch-Site`` for pages that are not ours: other ports of this host are ``same-site``."""
_PATH_LIMIT = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HTTP = {"ws": "http", "wss": "https"}
_PAGE = re.compile(r"/ui(?:[/?][A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?")
"""Pages that a browser may be sent on to, in the characters that a URL's path and query have (RFC 3986)."""


def own_origins(scope: Scope, public_url: str) -> set[str]:
    """The origins of our own pages: that of the request itself, and of the public URL behind a proxy."""
    scheme = scope.get("scheme", "http")
    host = Headers(scope=scope).get("host", "")
    asked = origin_of(f"{_HTTP.get(scheme, scheme)}://{host}")
    return {origin for origin in (asked, origin_of(public_url)) if origin}


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, in one spelling; empty for what has none (also ``null``)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.username is not None:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port or _DEFAULT_PORTS[parts.scheme]}"


def may_change(scope: Scope, public_url: str) -> bool:
    """Whether a request that rests on the cookie may change something: it comes from our own pages."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "same-origin"
    return origin_of(origin) in own_origins(scope, public_url)


def may_read(scope: Scope, public_url: str) -> bool:
    """Whether a request that rests on the cookie may read: it is our own, or opens a page as links do."""
    headers = Headers(scope=scope)
    if "origin" in headers:
        return may_change(scope, public_url)
    foreign = headers.get("sec-fetch-site") in FOREIGN
    return not foreign or headers.get("sec-fetch-mode") == "navigate"


def may_sign_in(scope: Scope, public_url: str) -> bool:
    """Whether a form may sign someone in: no page of another site sent it. Programs need not say."""
    headers = Headers(scope=scope)
    if "origin" in headers:
        return may_change(scope, public_url)
    return headers.get("sec-fetch-site") not in FOREIGN


def came_by_a_link(scope: Scope) -> bool:
    """Whether a page is opened by a link on another site, where a browser keeps a Strict cookie to itself."""
    headers = Headers(scope=scope)
    return headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") == "navigate"


def is_page(path: str) -> bool:
    """Whether a path belongs to the dashboard."""
    return path in ("/", "/ui") or path.startswith("/ui/")


def local_page(path: str) -> str:
    """``path`` if it is a page of the dashboard, and the first page for anything else."""
    fits = len(path) <= _PATH_LIMIT and _PAGE.fullmatch(path)
    return path if fits else HOME


def sign_in_for(scope: Scope) -> str:
    """The sign-in page's address that leads back to the page that was asked for."""
    return f"{SIGN_IN}?next={quote(asked_page(scope), safe='')}"


def asked_page(scope: Scope) -> str:
    """The page that was asked for, with its query, as an address to be sent to."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"")
    return local_page((path + (b"?" + query if query else b"")).decode("latin-1"))
