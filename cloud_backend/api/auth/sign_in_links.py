"""The session of a request, and one-time sign-in links."""

from __future__ import annotations

from fastapi import APIRouter, Request

from cloud_backend.access.tickets import LIFE_S
from cloud_backend.api.auth.origins import SIGN_IN
from cloud_backend.api.auth.sign_in import name_of
from cloud_backend.api.dependencies import CloudDep, PrincipalDep
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.schemas.base import Done
from cloud_backend.api.schemas.sessions import CreateSignInLink, SessionPublic, SignInLink

router = APIRouter(prefix="/v1", tags=["sessions"])


@router.post("/sign-in-links", status_code=201, responses=responses(413, 422))
def make_link(body: CreateSignInLink, principal: PrincipalDep, cloud: CloudDep) -> SignInLink:
    """Create a link to the dashboard that signs in without password, once and for a short time."""
    name = name_of(body.name)
    if body.name and not name:
        raise problem(422, "the name must be printable text")
    ticket = cloud.access.tickets.make(name or principal.name)
    return SignInLink(url=f"{cloud.http_url.rstrip('/')}{SIGN_IN}/{ticket}", expires_s=LIFE_S)


@router.get("/session", responses=responses())
def show_session(principal: PrincipalDep) -> SessionPublic:
    """The principal of the request, and the end of its session."""
    kind = "token" if principal.expires_ns is None else "session"
    return SessionPublic(name=principal.name, kind=kind, expires_ns=principal.expires_ns)


@router.delete("/session", responses=responses(409))
def end_session(request: Request, principal: PrincipalDep, cloud: CloudDep) -> Done:
    """End the session of the request."""
    if principal.expires_ns is None:
        raise problem(409, "the admin's token has no session: replace its file to revoke it")
    cloud.access.sessions.end(request.state.token)
    return Done(id=principal.name)
