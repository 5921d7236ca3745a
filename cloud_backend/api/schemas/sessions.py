"""Sessions and one-time sign-in links."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from cloud_backend.api.schemas.base import RequestBody

NAME_LIMIT = 60


class CreateSignInLink(RequestBody):
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
