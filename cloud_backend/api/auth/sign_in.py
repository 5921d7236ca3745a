"""Sign-in and sign-out of browsers: plain pages and forms without scripts.

The cookie is HttpOnly, SameSite=Strict, for the whole host, and Secure with https. A one-time link is used up
when it is opened. Passwords are verified one at a time, which bounds the load of scrypt.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

import structlog
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Path, Query, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import RedirectResponse, Response

from cloud_backend.access import devices
from cloud_backend.access.sessions import LIFE_S
from cloud_backend.api.auth import origins
from cloud_backend.api.auth.middleware import COOKIE
from cloud_backend.api.auth.sign_in_page import redirect_page, refused_page, sign_in_page, used_link_page
from cloud_backend.api.dependencies import CloudDep
from cloud_backend.api.schemas.sessions import NAME_LIMIT
from cloud_backend.store.engine import is_outage
from common.errors import AccessDenied, LoginThrottled

DEVICE_COOKIE = "edgeloop-device"
_FIELDS = 10
_FORM = "application/x-www-form-urlencoded"
_FOREIGN = "The form was sent by a page of another site and was ignored."
_OUTAGE = "The database does not answer. Try again in a moment."
_log = structlog.get_logger("edgeloop.access")

router = APIRouter(include_in_schema=False)


@router.api_route(origins.SIGN_IN, methods=["GET", "HEAD"])
def show(next: Annotated[str, Query()] = origins.HOME) -> Response:
    """The sign-in form."""
    return sign_in_page(origins.local_page(next))


@router.post(origins.SIGN_IN)
async def sign_in(request: Request, cloud: CloudDep) -> Response:
    """Sign in with name and password, or show the form with the problem."""
    if not origins.may_sign_in(request.scope, cloud.settings.http.public_url):
        return refused_page(_FOREIGN, 403)
    form = await _form_of(request)
    page, name = origins.local_page(form.get("next", "")), name_of(form.get("name", ""))
    if not name:
        text = f"Enter your name, 1 to {NAME_LIMIT} characters. It is shown with your actions."
        return sign_in_page(page, problem=text, status=400)
    address = request.client.host if request.client else ""
    try:
        token = await to_thread.run_sync(
            cloud.access.sign_in,
            name,
            form.get("password", ""),
            address,
            request.cookies.get(DEVICE_COOKIE, ""),
            limiter=_password_limiter(request),
        )
    except LoginThrottled as error:
        text = f"Too many wrong passwords. Wait {_duration(error.wait_s)}, then try again."
        headers = {"Retry-After": str(error.wait_s)}
        return sign_in_page(page, problem=text, name=name, status=429, headers=headers)
    except AccessDenied as error:
        _log.warning("sign-in refused", address=address, reason=str(error))
        await to_thread.run_sync(_record, cloud, name, "sign in", address, "wrong password")
        return sign_in_page(page, problem="Wrong password.", name=name, status=401)
    except SQLAlchemyError as error:
        if not is_outage(error):
            raise
        return sign_in_page(page, problem=_OUTAGE, name=name, status=503)
    _log.info("signed in", name=name, address=address)
    await to_thread.run_sync(_record, cloud, name, "sign in", address)
    return _with_cookie(RedirectResponse(page, 303), request, cloud, token)


@router.get(origins.SIGN_IN + "/{ticket}")
def use_link(ticket: Annotated[str, Path(max_length=200)], request: Request, cloud: CloudDep) -> Response:
    """Sign in with a one-time link."""
    name = cloud.access.tickets.take(ticket)
    if name is None:
        return used_link_page()
    token = cloud.access.sessions.start(name)
    address = request.client.host if request.client else ""
    _log.info("signed in by a link", name=name, address=address)
    _record(cloud, name, "sign in by a link", address)
    # After a link on another site, a browser would follow a redirect without the Strict cookie.
    cross_site = origins.is_cross_site_navigation(request.scope)
    answer = redirect_page(origins.HOME) if cross_site else RedirectResponse(origins.HOME, 303)
    return _with_cookie(answer, request, cloud, token)


@router.post(origins.SIGN_OUT)
def sign_out(request: Request, cloud: CloudDep) -> Response:
    """End the session of the cookie."""
    if not origins.may_change(request.scope, cloud.settings.http.public_url):
        return refused_page(_FOREIGN, 403)
    token = request.cookies.get(COOKIE, "")
    person = cloud.access.person(token) if token else None
    if token:
        cloud.access.sessions.end(token)
    if person is not None:
        _record(cloud, person.name, "sign out", request.client.host if request.client else "")
    answer = RedirectResponse(origins.SIGN_IN, 303)
    answer.delete_cookie(
        COOKIE, path="/", httponly=True, samesite="strict", secure=_is_secure(request, cloud)
    )
    return answer


def _record(cloud: CloudDep, name: str, action: str, address: str, outcome: str = "done") -> None:
    """Record an entry of the audit trail; a failing database does not prevent the sign-in."""
    try:
        cloud.access.audit.record(name, action, address=address, outcome=outcome)
    except SQLAlchemyError as error:
        _log.error("an audit entry could not be stored", name=name, action=action, error=str(error))


def name_of(text: str) -> str:
    """A person's normalised name: printable, on one line; empty for an invalid one.

    ``admin`` is reserved: the audit trail and approvals use it for the admin's token.
    """
    name = " ".join(text.split())
    fits = len(name) <= NAME_LIMIT and name.isprintable() and name.lower() != "admin"
    return name if fits else ""


async def _form_of(request: Request) -> dict[str, str]:
    body = await request.body()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return {}
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        return {}


def _password_limiter(request: Request) -> CapacityLimiter:
    state = request.app.state
    if not hasattr(state, "password_limiter"):
        state.password_limiter = CapacityLimiter(1)
    return state.password_limiter


def _with_cookie(answer: Response, request: Request, cloud: CloudDep, token: str) -> Response:
    answer.set_cookie(
        COOKIE,
        token,
        max_age=LIFE_S,
        path="/",
        httponly=True,
        samesite="strict",
        secure=_is_secure(request, cloud),
    )
    answer.set_cookie(
        DEVICE_COOKIE,
        cloud.access.devices.make(),
        max_age=devices.LIFE_S,
        path=origins.SIGN_IN,
        httponly=True,
        samesite="strict",
        secure=_is_secure(request, cloud),
    )
    return answer


def _is_secure(request: Request, cloud: CloudDep) -> bool:
    return "https" in (request.url.scheme, cloud.settings.http.public_url.partition(":")[0])


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{round(seconds / 60)} min"
