"""The session that a request comes with, and links that sign someone in once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from cloud_backend.access.tickets import LIFE_S
from cloud_backend.api.auth.origins import SIGN_IN
from cloud_backend.api.auth.sign_in import NAME_LIMIT, name_of
from cloud_backend.api.dependencies import CloudDep, PrincipalDep
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.schemas.shapes import Asked, Done

router = APIRouter(prefix="/v1", tags=["sessions"])


class AskLink(Asked):
    """Make a one-time link."""

    name: str = Field(
        "", max_length=NAME_LIMIT, description="whom it signs in; empty is who asks for the link"
    )


class SignInLink(BaseModel):
    """A link that signs in whoever opens it first."""

    url: str
    expires_s: int


class SessionPublic(BaseModel):
    """Who asks."""

    name: str
    kind: Annotated[str, Field(description="`session` of a person, or `token` of the admin")]
    expires_ns: Annotated[int | None, Field(description="UTC nanoseconds; null for the admin's token")]


@router.post("/sign-in-links", status_code=201, responses=responses(413, 422))
def make_link(asked: AskLink, principal: PrincipalDep, cloud: CloudDep) -> SignInLink:
    """Make a link to the dashboard that needs no password, works once, and soon no more."""
    name = name_of(asked.name)
    if asked.name and not name:
        raise problem(422, "the name must be printable text")
    ticket = cloud.access.tickets.make(name or principal.name)
    return SignInLink(url=f"{cloud.http_url.rstrip('/')}{SIGN_IN}/{ticket}", expires_s=LIFE_S)


@router.get("/session", responses=responses())
def show_session(principal: PrincipalDep) -> SessionPublic:
    """Who asks, and until when."""
    kind = "token" if principal.expires_ns is None else "session"
    return SessionPublic(name=principal.name, kind=kind, expires_ns=principal.expires_ns)


@router.delete("/session", responses=responses(409))
def end_session(request: Request, principal: PrincipalDep, cloud: CloudDep) -> Done:
    """End the session that the request comes with."""
    if principal.expires_ns is None:
        raise problem(409, "the admin's token is no session: it ends when its file is replaced")
    cloud.access.sessions.end(request.state.token)
    return Done(id=principal.name)
