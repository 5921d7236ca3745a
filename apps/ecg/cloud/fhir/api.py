"""The FHIR API, at ``/fhir`` of the cloud: read, search, and what the server can do; nothing can be written.

It stands behind the cloud's access like everything else, ``/fhir/metadata`` too: R4 lets a server ask for a
login there, and nothing of this cloud answers strangers but its health. The setting ``fhir_public_metadata``
opens it, for clients that read it before they have a token. Every error is an OperationOutcome.
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

from apps.ecg.cloud.fhir.lookup import read
from apps.ecg.cloud.fhir.paging import find
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
"""What ``fhirVersion`` may ask for."""
_JSON_TYPES = ("application/fhir+json", "application/json", "text/json", "application/*", "*/*", "json", "")


def is_installed() -> bool:
    """Whether the extra ``fhir`` is there."""
    try:
        return importlib.util.find_spec("fhir.resources") is not None
    except ModuleNotFoundError:
        return False


def error(status: int, text: str) -> tuple[int, str, bytes]:
    """An error as an OperationOutcome; what cannot be read is 400 in FHIR."""
    status = 400 if status == 422 else status
    issue = {
        "severity": "error",
        "code": _ISSUES.get(status, "exception" if status >= 500 else "processing"),
        "diagnostics": text or "something went wrong here",
    }
    body = {"resourceType": "OperationOutcome", "issue": [issue]}
    return status, f"{MEDIA_TYPE}; charset=utf-8", json.dumps(body).encode()


def make_mount(deps: RouteDeps, *, public_metadata: bool = False) -> Mount:
    """The API below its path; without the extra ``fhir`` it says what to install."""
    open_paths = frozenset({"/metadata"}) if public_metadata else frozenset[str]()
    return Mount(_router(deps) if is_installed() else _absent(), error, open_paths)


def _absent() -> APIRouter:
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

    def search(type_: str, given: list[tuple[str, str]], request: Request, session: Session) -> Response:
        _acceptable(request)
        base = _base(request)
        now_ns = time.time_ns()
        asked = parse(_known(type_), given, base=base, now_ns=now_ns, strict=_is_strict(request))
        page = find(session, asked, now_ns)
        return _answer(bundles.encode(bundles.searchset(base, asked, page)))

    @router.api_route("/{type_}", methods=READING)
    def search_by_get(type_: str, request: Request, session: Session = deps.session) -> Response:
        return search(type_, list(request.query_params.multi_items()), request, session)

    @router.post("/{type_}/_search")
    async def search_by_post(type_: str, request: Request, session: Session = deps.session) -> Response:
        body = await request.body()
        if len(body) > FORM_LIMIT_BYTES:
            raise HTTPException(413, f"a search holds {FORM_LIMIT_BYTES} bytes at most")
        kind, parameters = _media(request.headers.get("content-type", ""))
        if kind != "application/x-www-form-urlencoded":
            raise HTTPException(415, "a search is posted as application/x-www-form-urlencoded")
        if parameters.get("charset", "utf-8") not in ("utf-8", "utf8", "us-ascii"):
            raise HTTPException(415, "a search is posted in UTF-8")
        given = list(request.query_params.multi_items())
        given += parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        return await run_in_threadpool(search, type_, given, request, session)

    @router.api_route("/{type_}/{id_}", methods=READING)
    def read_one(type_: str, id_: str, request: Request, session: Session = deps.session) -> Response:
        _acceptable(request)
        found = read(session, _known(type_), id_, time.time_ns())
        if found is None:
            raise HTTPException(404, f"there is no {type_}/{id_[:64]}")
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
        raise HTTPException(404, f"there are no resources of type {type_[:40]!r}: {', '.join(PARAMETERS)}")
    return type_


def _is_strict(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("prefer")).replace(";", ",").split(",")
    return "handling=strict" in [each.strip().lower().replace(" ", "") for each in preferences]


def _acceptable(request: Request) -> None:
    """Only JSON of R4 can be had. Raises a 406 for a client that takes nothing like it."""
    asked = request.query_params.get("_format") or request.headers.get("accept", "")
    for each in asked.split(","):
        kind, parameters = _media(each)
        # A plus sign in a query is a space to whoever does not escape it.
        known = kind.replace("fhir json", "fhir+json") in _JSON_TYPES
        if known and not _is_refused(parameters) and parameters.get("fhirversion", "4.0") in VERSIONS:
            return
    raise HTTPException(406, f"only {MEDIA_TYPE}; fhirVersion=4.0 is spoken here, not {asked[:80]!r}")


def _media(text: str) -> tuple[str, dict[str, str]]:
    """A media type and its parameters, in small letters."""
    kind, *rest = text.lower().split(";")
    pairs = (each.partition("=") for each in rest)
    return kind.strip(), {name.strip(): value.strip().strip('"') for name, _, value in pairs}


def _is_refused(parameters: Mapping[str, str]) -> bool:
    """Whether a media type is asked for with a weight of 0."""
    try:
        return float(parameters.get("q", "1")) <= 0
    except ValueError:
        return False
