"""Keyset pagination: a cursor is the key of the last row of a page, so every page costs the same, and rows
that are added or removed in between neither repeat nor hide others.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from fastapi import Depends, Query
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import Select, select, tuple_
from sqlmodel import Session

from cloud_backend.api.problem import problem

LIMIT = 500
T = TypeVar("T")
Key = tuple[int | str, ...]
_cursor_decoder = msgspec.json.Decoder(list[int | str])


class SkippedRow(BaseModel):
    """A stored row that cannot be represented."""

    key: str = Field(description="key of the row")
    reason: str


class Page(BaseModel, Generic[T]):
    """Some items, and the cursor of the next page; null on the last."""

    items: list[T]
    next: str | None
    skipped: list[SkippedRow] = Field(
        default=[], description="stored rows of this page that cannot be represented"
    )


class PageQuery:
    """``?cursor=&limit=`` of a request."""

    def __init__(
        self,
        cursor: Annotated[
            str | None, Query(max_length=1000, description="`next` of the previous page")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=LIMIT, description="maximum number of items")] = 100,
    ) -> None:
        self.cursor = cursor
        self.limit = limit

    def after(self, kinds: Sequence[type]) -> Key | None:
        """The key in the cursor, with parts of ``kinds``. Raises a 400 problem for an invalid cursor."""
        if self.cursor is None:
            return None
        try:
            text = base64.urlsafe_b64decode(self.cursor.encode("ascii") + b"=" * (-len(self.cursor) % 4))
            key = tuple(_cursor_decoder.decode(text))
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            key = ()
        fits = len(key) == len(kinds) and all(type(v) is k for v, k in zip(key, kinds, strict=True))
        if not fits or any(isinstance(v, int) and abs(v) >= 2**63 for v in key):
            raise problem(400, "invalid cursor for this list: start without one")
        return key


Paging = Annotated[PageQuery, Depends()]


def cursor_of(key: Sequence[int | str]) -> str:
    """The opaque form of a key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(list(key))).decode().rstrip("=")


def page_of(
    session: Session,
    query: Select[Any],
    keys: Sequence[Any],
    kinds: Sequence[type],
    paging: PageQuery,
    public: Callable[[Any], T],
    *,
    newest_first: bool = True,
    scan_rows: int | None = None,
) -> Page[T]:
    """One page of ``query``, ordered by the columns ``keys``, which must identify a row and be indexed.

    ``query`` selects one entity; ``kinds`` are the keys' Python types. ``scan_rows`` limits the rows that a
    page scans, for a filter without an index: it may then hold few items and still have a ``next``.
    """
    after = paging.after(kinds)
    place = tuple_(*keys)
    if after is not None:
        query = query.where(place < after if newest_first else place > after)
    ordering = [key.desc() if newest_first else key.asc() for key in keys]
    query = query.order_by(*ordering)
    following = None
    if scan_rows is not None:
        beyond = select(*keys).order_by(*ordering).offset(scan_rows - 1).limit(1)
        if after is not None:
            beyond = beyond.where(place < after if newest_first else place > after)
        horizon = session.execute(beyond).first()
        if horizon is not None:
            query = query.where(place >= tuple(horizon) if newest_first else place <= tuple(horizon))
            following = cursor_of(tuple(horizon))
    rows = session.scalars(query.limit(paging.limit + 1)).all()
    if len(rows) > paging.limit:
        rows = rows[: paging.limit]
        following = cursor_of([getattr(rows[-1], key.key) for key in keys])
    return public_page(rows, public, lambda row: [getattr(row, key.key) for key in keys], following)


def public_page(
    rows: Sequence[Any],
    public: Callable[[Any], T],
    key: Callable[[Any], Sequence[Any]],
    following: str | None,
) -> Page[T]:
    """A page of the public forms of ``rows``; a row without one is skipped and reported by its ``key``."""
    page: Page[T] = Page(items=[], next=following)
    for row in rows:
        try:
            page.items.append(public(row))
        except (ValidationError, ValueError, TypeError, RecursionError) as error:
            name = " ".join(str(part)[:200] for part in key(row))
            page.skipped.append(SkippedRow(key=name, reason=str(error)[:500]))
    return page
