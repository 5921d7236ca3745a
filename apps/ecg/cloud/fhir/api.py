"""FHIR API at ``/fhir`` of the cloud: read, search and capability statement; read-only.

Access control of the cloud applies to all paths, ``/fhir/metadata`` included (R4 permits a server to require
authentication there). The setting ``fhir_public_metadata`` opens it for clients that read it before they have
a token. Every error is an OperationOutcome.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Mapping
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Request, Response
from sqlmodel import Session
from starlette.concurrency import run_in_threadpool

from apps.ecg.cloud.fhir.lookup import read_resource
from apps.ecg.cloud.fhir.paging import find_page
from apps.ecg.cloud.fhir.search import PARAMETERS, parse
from common.app.cloud import Mount, RouteDeps

MEDIA_TYPE = "application/fhir+json"
FORM_LIMIT_BYTES = 16 * 1024
MISSING = "this cloud was installed without FHIR: pip install 'edgeloop[fhir]'"
_ISSUES = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    413: "too-long",
    415: "not-supported",
    501: "not-supported",
    503: "transient",
}
READING = ["GET", "HEAD"]
VERSIONS = ("4.0", "4.0.1")
"""Accepted values of ``fhirVersion``."""
_JSON_TYPES = ("application/fhir+json", "application/json", "text/json", "application/*", "*/*", "json", "")


def is_installed() -> bool:
    """Whether the extra ``fhir`` is installed."""
    try:
        return importlib.util.find_spec("fhir.resources") is not None
    except ModuleNotFoundError:
        return False


def error(status: int, text: str) -> tuple[int, str, bytes]:
    """An error as an OperationOutcome; FHIR uses 400 for malformed requests (422 elsewhere in this cloud)."""
    status = 400 if status == 422 else status
    issue = {
        "severity": "error",
        "code": _ISSUES.get(status, "exception" if status >= 500 else "processing"),
        "diagnostics": text or "internal error",
    }
    body = {"resourceType": "OperationOutcome", "issue": [issue]}
    return status, f"{MEDIA_TYPE}; charset=utf-8", json.dumps(body).encode()


def make_mount(deps: RouteDeps, *, public_metadata: bool = False) -> Mount:
    """Routes and error format of the API; without the extra ``fhir`` every path answers 501."""
    open_paths = frozenset({"/metadata"}) if public_metadata else frozenset[str]()
    return Mount(_router(deps) if is_installed() else _not_installed(), error, open_paths)


def _not_installed() -> APIRouter:
    router = APIRouter()

    @router.get("/{path:path}")
    def absent(path: str) -> None:  # noqa: ARG001
        raise HTTPException(501, MISSING)

    return router


def _router(deps: RouteDeps) -> APIRouter:
    from apps.ecg.cloud.fhir import bundles

    router = APIRouter()

    @router.api_route("/metadata", methods=READING)
    def capabilities(request: Request) -> Response:
        _acceptable(request)
        return _answer(bundles.encode(bundles.capability_statement(_base(request))))

    def search(type_: str, query: list[tuple[str, str]], request: Request, session: Session) -> Response:
        _acceptable(request)
        base = _base(request)
        now_ns = time.time_ns()
        criteria = parse(_known(type_), query, base=base, now_ns=now_ns, strict=_is_strict(request))
        page = find_page(session, criteria, now_ns)
        return _answer(bundles.encode(bundles.searchset(base, criteria, page)))

    @router.api_route("/{type_}", methods=READING)
    def search_by_get(type_: str, request: Request, session: Session = deps.session) -> Response:
        return search(type_, list(request.query_params.multi_items()), request, session)

    @router.post("/{type_}/_search")
    async def search_by_post(type_: str, request: Request, session: Session = deps.session) -> Response:
        body = await request.body()
        if len(body) > FORM_LIMIT_BYTES:
            raise HTTPException(413, f"a search body may have at most {FORM_LIMIT_BYTES} bytes")
        kind, parameters = _media(request.headers.get("content-type", ""))
        if kind != "application/x-www-form-urlencoded":
            raise HTTPException(415, "the content type of a search must be application/x-www-form-urlencoded")
        if parameters.get("charset", "utf-8") not in ("utf-8", "utf8", "us-ascii"):
            raise HTTPException(415, "the charset of a search must be UTF-8")
        query = list(request.query_params.multi_items())
        query += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        return await run_in_threadpool(search, type_, query, request, session)

    @router.api_route("/{type_}/{id_}", methods=READING)
    def read_one(type_: str, id_: str, request: Request, session: Session = deps.session) -> Response:
        _acceptable(request)
        found = read_resource(session, _known(type_), id_, time.time_ns())
        if found is None:
            raise HTTPException(404, f"{type_}/{id_[:64]} does not exist")
        return _answer(bundles.encode(found))

    return router


def _answer(body: bytes) -> Response:
    return Response(body, media_type=f"{MEDIA_TYPE}; charset=utf-8", headers={"Cache-Control": "no-store"})


def _base(request: Request) -> str:
    """The URL of the server's root, as the client called it."""
    path = request.url.path
    root = path[: path.index("/", 1)] if "/" in path[1:] else path
    return f"{request.url.scheme}://{request.url.netloc}{root}"


def _known(type_: str) -> str:
    if type_ not in PARAMETERS:
        raise HTTPException(404, f"unknown resource type {type_[:40]!r}; types are {', '.join(PARAMETERS)}")
    return type_


def _is_strict(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).replace(";", ",").split(",")
    return "handling=strict" in [each.strip().lower().replace(" ", "") for each in preferences]


def _acceptable(request: Request) -> None:
    """Check that the client accepts JSON of R4. Raises a 406 otherwise."""
    accepted = request.query_params.get("_format") or request.headers.get("accept", "")
    for each in accepted.split(","):
        kind, parameters = _media(each)
        # A plus sign in a query is a space to whoever does not escape it.
        known = kind.replace("fhir json", "fhir+json") in _JSON_TYPES
        if known and not _is_refused(parameters) and parameters.get("fhirversion", "4.0") in VERSIONS:
            return
    raise HTTPException(406, f"only {MEDIA_TYPE}; fhirVersion=4.0 is available, not {accepted[:80]!r}")


def _media(text: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters, in lower case."""
    kind, *rest = text.lower().split(";")
    pairs = (each.partition("=") for each in rest)
    return kind.strip(), {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _is_refused(parameters: Mapping[str, str]) -> bool:
    """Whether a media type has the weight 0."""
    try:
        return float(parameters.get("q", "1")) <= 0
    except ValueError:
        return False
