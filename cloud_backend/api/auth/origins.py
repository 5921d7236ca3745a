"""Rules for the origin of a browser's request and for redirect targets. No I/O.

A browser sends its cookie also with requests that another site's page triggers, so a request authenticated by
the cookie must come from our own pages: its ``Origin``, which no page can forge, must be ours. Without one
(old browsers), ``Sec-Fetch-Site`` must be ``same-origin``.
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
"""Values of ``Sec-Fetch-Site`` for foreign pages; other ports of this host are ``same-site``."""
_PATH_LIMIT = 2000
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HTTP = {"ws": "http", "wss": "https"}
_PAGE = re.compile(r"/ui(?:[/?][A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?")
"""Allowed redirect targets: pages of the dashboard, in characters of a path and query (RFC 3986)."""


def own_origins(scope: Scope, public_url: str) -> set[str]:
    """Our own origins: that of the request, and that of the public URL behind a proxy."""
    scheme = scope.get("scheme", "http")
    host = Headers(scope=scope).get("host", "")
    requested = origin_of(f"{_HTTP.get(scheme, scheme)}://{host}")
    return {origin for origin in (requested, origin_of(public_url)) if origin}


def origin_of(url: str) -> str:
    """Normalised scheme, host and port of a URL; empty without an origin (also for ``null``)."""
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
    """Whether a modifying request with the cookie is allowed: it comes from our own pages."""
    headers = Headers(scope=scope)
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site") == "same-origin"
    return origin_of(origin) in own_origins(scope, public_url)


def may_read(scope: Scope, public_url: str) -> bool:
    """Whether a reading request with the cookie is allowed: it is our own, or a navigation to a page."""
    headers = Headers(scope=scope)
    if "origin" in headers:
        return may_change(scope, public_url)
    foreign = headers.get("sec-fetch-site") in FOREIGN
    return not foreign or headers.get("sec-fetch-mode") == "navigate"


def may_sign_in(scope: Scope, public_url: str) -> bool:
    """Whether a sign-in form is accepted: not from a page of another site. Programs may omit the headers."""
    headers = Headers(scope=scope)
    if "origin" in headers:
        return may_change(scope, public_url)
    return headers.get("sec-fetch-site") not in FOREIGN


def is_cross_site_navigation(scope: Scope) -> bool:
    """Whether a link on another site opens a page; a browser omits a Strict cookie then."""
    headers = Headers(scope=scope)
    return headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") == "navigate"


def is_page(path: str) -> bool:
    """Whether a path is a page of the dashboard."""
    return path in ("/", "/ui") or path.startswith("/ui/")


def local_page(path: str) -> str:
    """``path`` if it is a page of the dashboard, else the first page."""
    fits = len(path) <= _PATH_LIMIT and _PAGE.fullmatch(path)
    return path if fits else HOME


def sign_in_for(scope: Scope) -> str:
    """Path of the sign-in page that returns to the requested page."""
    return f"{SIGN_IN}?next={quote(requested_page(scope), safe='')}"


def requested_page(scope: Scope) -> str:
    """The requested page with its query, as a redirect target."""
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"")
    return local_page((path + (b"?" + query if query else b"")).decode("latin-1"))
