"""Totals of the fleet, received events by day, transferred data by node.

Nodes are counted in one pass over their table; transferred data comes from the sums that ingest maintains,
never from the events themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import func, select
from sqlmodel import Session, col

from cloud_backend.api.dependencies import CloudDep, SessionDep
from cloud_backend.api.paging import Page, Paging, page_of
from cloud_backend.api.problem import responses
from cloud_backend.api.routes.alerts import open_alarms
from cloud_backend.api.routes.nodes import NodeFilterDep
from cloud_backend.api.schemas.fleet import FleetPublic, TransferPublic, VolumePublic
from cloud_backend.api.schemas.health import whole
from cloud_backend.ingest.daily_counts import DAY_NS
from cloud_backend.store.tables import DailyCount, Node, UploadCount

_SUMS = (func.sum(col(DailyCount.events)), func.sum(col(DailyCount.bytes)))
router = APIRouter(prefix="/v1", tags=["nodes"])
VOLUMES_LIMIT = 10_000
"""Maximum number of rows of an answer about volumes; the oldest days are omitted first."""
Days = Annotated[int, Query(ge=1, le=366, description="number of UTC days, including today")]


@router.get("/fleet", responses=responses())
def show_fleet(session: SessionDep) -> FleetPublic:
    """Totals of the fleet: states, versions, backlog, transferred data."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("state", "app", "site")}
    versions: dict[str, Counter[str]] = defaultdict(Counter)
    sums: Counter[str] = Counter()
    in_service = col(Node.retired_ns) == 0
    nodes = session.execute(
        select(
            col(Node.state),
            col(Node.app),
            col(Node.site),
            col(Node.version),
            col(Node.virtual),
            col(Node.health),
            col(Node.update_problem),
        ).where(in_service)
    ).all()
    for state, app, site, version, virtual, health, problem in nodes:
        sums["without_updates"] += bool(problem)
        for name, value in (("state", state), ("app", app), ("site", site)):
            counts[name][value] += 1
        versions[app][version] += 1
        sums["virtual"] += virtual
        sums["drifting"] += health.get("drift") is True
        for name in ("outbox_events", "bytes_sent", "bytes_raw", "readings"):
            sums[name] += whole(health, name) or 0
    samples, sample_bytes = session.execute(
        select(func.sum(UploadCount.samples), func.sum(UploadCount.bytes_received))
    ).one()
    return FleetPublic(
        nodes=len(nodes),
        states=counts["state"],
        apps=counts["app"],
        sites=counts["site"],
        versions={app: dict(found) for app, found in versions.items()},
        virtual=sums["virtual"],
        drifting=sums["drifting"],
        without_updates=sums["without_updates"],
        retired=session.scalar(select(func.count()).select_from(Node).where(~in_service)) or 0,
        outbox_events=sums["outbox_events"],
        bytes_sent=sums["bytes_sent"],
        bytes_raw=sums["bytes_raw"],
        readings=sums["readings"],
        open_alarms=open_alarms(session),
        samples=samples or 0,
        sample_bytes=sample_bytes or 0,
    )


@router.get("/volumes", responses=responses(422))
def list_volumes(
    session: SessionDep,
    cloud: CloudDep,
    days: Days = 14,
    node: Annotated[str | None, Query(max_length=63, description="only of this node")] = None,
) -> Page[VolumePublic]:
    """Received events by day and type, newest day first."""
    query = (
        select(col(DailyCount.day), col(DailyCount.type), *_SUMS)
        .where(col(DailyCount.day).in_(_days(cloud, days)))
        .group_by(col(DailyCount.day), col(DailyCount.type))
        .order_by(col(DailyCount.day).desc(), col(DailyCount.type))
        .limit(VOLUMES_LIMIT)
    )
    if node is not None:
        query = query.where(col(DailyCount.node) == node)
    items = [
        VolumePublic(day=_date(day), type=kind, events=events, bytes=size)
        for day, kind, events, size in session.execute(query)
    ]
    return Page(items=items, next=None)


@router.get("/audit", responses=responses(422))
def list_audit(
    session: SessionDep, cloud: CloudDep, paging: Paging, node_filter: NodeFilterDep, days: Days = 14
) -> Page[TransferPublic]:
    """Transferred events and samples of each node, compared with the bytes of all its readings; by name.

    Filters and cursors are those of ``GET /v1/nodes``, so that both lists can be read in step.
    """
    nodes = page_of(
        session, node_filter.query(), [col(Node.name)], [str], paging, _itself, newest_first=False
    )
    names = [node.name for node in nodes.items]
    sums = _sums_of(session, names, _days(cloud, days))
    rows = session.scalars(select(UploadCount).where(col(UploadCount.node).in_(names)))
    uploads = {row.node: row for row in rows}
    items = [_account(node, sums.get(node.name, (0, 0)), uploads.get(node.name)) for node in nodes.items]
    return Page(items=items, next=nodes.next)


def _account(node: Node, sent: tuple[int, int], uploads: UploadCount | None) -> TransferPublic:
    uploads = uploads or UploadCount(node=node.name)
    return TransferPublic(
        node=node.name,
        site=node.site,
        app=node.app,
        virtual=node.virtual,
        events=sent[0],
        event_bytes=sent[1],
        samples=uploads.samples,
        sample_bytes=uploads.bytes_received,
        samples_refused=uploads.refused,
        bytes_sent=whole(node.health, "bytes_sent") or 0,
        bytes_raw=whole(node.health, "bytes_raw") or 0,
    )


def _sums_of(session: Session, names: Sequence[str], days: Sequence[int]) -> dict[str, tuple[int, int]]:
    query = (
        select(col(DailyCount.node), *_SUMS)
        .where(col(DailyCount.day).in_(days), col(DailyCount.node).in_(names))
        .group_by(col(DailyCount.node))
    )
    return {node: (int(events), int(size)) for node, events, size in session.execute(query)}


def _days(cloud: CloudDep, count: int) -> list[int]:
    """Day numbers one by one, so that with a node each is a look-up in the primary key."""
    today = cloud.clock() // DAY_NS
    return list(range(today - count + 1, today + 1))


def _date(day: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).date().isoformat()


def _itself(row: Any) -> Any:
    return row
