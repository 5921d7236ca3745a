"""Another recording at the same place: it is read from its start, its positions behind the earlier ones.

A source over a file or a folder counts positions from its beginning. Where another recording lies there
now, the position that the node has kept would skip its first readings in silence. Such a source identifies
itself by ``identity``, a digest of its beginning; the node keeps that in ``source.json`` (``source-1.json``
for the second of several sources), with the position at which this recording began, before it reads any of
it. A source without ``identity`` keeps its own count (`csv`, for rotated files) or has none (`virtual`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from common import durable
from common.app.edge import Reading, Source
from common.errors import ReadingError

log = logging.getLogger(__name__)


class _Known(msgspec.Struct):
    uri: str
    identity: str
    base: int


class ContinuedSource:
    """`common.app.edge.Source` whose positions lie ``base`` behind those of ``source``."""

    def __init__(self, source: Source, base: int, notice: str) -> None:
        self.live = source.live
        self.virtual = source.virtual
        self._source = source
        self._base = base
        self._notice = notice

    def readings(self, after: int | None) -> Iterator[Reading | ReadingError]:
        if self._notice:
            yield ReadingError(self._notice, kind="changed")
            self._notice = ""
        base = self._base
        own_after = after - base if after is not None and after > base else None
        for item in self._source.readings(own_after):
            yield replace(item, position=item.position + base) if isinstance(item, Reading) else item

    def close(self) -> None:
        self._source.close()


def continued(source: Source, uri: str, file: Path, position: int | None) -> Source:
    """``source``, or one that continues behind ``position`` where it is another recording than before.

    ``file`` is where the node keeps what it knows of this source. Raises OSError where it cannot be written.
    """
    identity: str = getattr(source, "identity", "")
    if not identity:
        return source
    known = _load(file)
    notice, base = "", 0
    if known is not None and known.uri == uri and position is not None:
        base = known.base
        if known.identity != identity:
            base = position
            notice = f"{uri} is another recording than before; it is read from its start"
    durable.write(file, msgspec.json.encode(_Known(uri, identity, base)))
    return ContinuedSource(source, base, notice) if base or notice else source


def _load(path: Path) -> _Known | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Known)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("%s cannot be read; the source is taken for the same as before: %s", path, error)
        return None
