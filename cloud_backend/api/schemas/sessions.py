"""Sessions and one-time sign-in links."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import RequestBody

NAME_LIMIT = 60


class CreateSignInLink(RequestBody):
    """Create a one-time sign-in link."""

    name: str = Field(
        "", max_length=NAME_LIMIT, description="name of the person to sign in; default: the principal"
    )


class SignInLink(BaseModel):
    """A link that signs in the first person who opens it."""

    url: str
    expires_s: int


class SessionPublic(BaseModel):
    """The principal of the request."""

    name: str
    kind: Annotated[str, Field(description="`session` of a person, or `token` of the admin")]
    expires_ns: Annotated[int | None, Field(description="UTC nanoseconds; null for the admin's token")]
