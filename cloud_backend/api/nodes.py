"""Nodes: enrol, list, look at, and tell to look."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy import Select, select
from sqlmodel import col

from cloud_backend.api.deps import CloudDep, SessionDep
from cloud_backend.api.paging import Page, Paging, page_of
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.shapes import AdoptionPublic, Done, EnrolmentPublic, EnrolNode, Hint, NodePublic
from cloud_backend.store.tables import Adoption, Node
from common.errors import AccessDenied

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])
NodeName = Annotated[str, Path(max_length=63, description="name of a node")]


class NodeFilter:
    """``?state=&site=&app=&name=`` of a request for nodes."""

    def __init__(
        self,
        state: Annotated[Literal["online", "offline", "unknown"] | None, Query()] = None,
        site: Annotated[str | None, Query(max_length=63)] = None,
        app: Annotated[str | None, Query(max_length=63)] = None,
        name: Annotated[str | None, Query(max_length=63, description="how names begin")] = None,
    ) -> None:
        self._wanted = ((Node.state, state), (Node.site, site), (Node.app, app))
        self._name = name

    def nodes(self) -> Select[Any]:
        """The nodes that fit."""
        query = select(Node)
        for column, wanted in self._wanted:
            if wanted is not None:
                query = query.where(col(column) == wanted)
        if self._name:
            query = query.where(col(Node.name).startswith(self._name.lower(), autoescape=True))
        return query


WhichNodes = Annotated[NodeFilter, Depends()]


@router.post("", status_code=201, responses=responses(409, 413, 422))
def enrol(asked: EnrolNode, cloud: CloudDep) -> EnrolmentPublic:
    """Enrol a node, or give an enrolled one new credentials; the old ones end.

    The answer is the node's enrolment file. Its secrets are shown this once.
    """
    try:
        token, password = cloud.access.enrol(asked.node, asked.site)
    except AccessDenied as error:
        raise problem(409, str(error)) from error
    cloud.broker.add_node(asked.site, asked.node, password)
    return EnrolmentPublic(
        node=asked.node,
        site=asked.site,
        cloud_url=cloud.http_url,
        mqtt_host=cloud.mqtt_host,
        mqtt_port=cloud.mqtt_port,
        mqtt_password=password,
        token=token,
        tuf_root=cloud.repository.root(),
    )


@router.get("", responses=responses(422))
def list_nodes(session: SessionDep, paging: Paging, which: WhichNodes) -> Page[NodePublic]:
    """Nodes, by name."""
    keys = [col(Node.name)]
    return page_of(session, which.nodes(), keys, [str], paging, NodePublic.of, newest_first=False)


@router.get("/{node}", responses=responses(404, 422))
def show_node(node: NodeName, session: SessionDep) -> NodePublic:
    """One node."""
    return NodePublic.of(_find(session, node))


@router.get("/{node}/adoptions", responses=responses(404, 422))
def list_adoptions(node: NodeName, session: SessionDep, paging: Paging) -> Page[AdoptionPublic]:
    """What a node reported about adopting models, newest first."""
    _find(session, node)
    query = select(Adoption).where(col(Adoption.node) == node)
    keys = [col(Adoption.stream_id), col(Adoption.seq)]
    return page_of(session, query, keys, [int, int], paging, AdoptionPublic.of)


@router.post("/{node}/hint", status_code=202, responses=responses(404, 413, 422))
def hint(node: NodeName, asked: Hint, session: SessionDep, cloud: CloudDep) -> Done:
    """Tell a node to look for a deployment now, to prove its live model on its golden cases, or to go back.

    It is no more than a hint: a node that is offline does not get it. What the node does about it, it tells
    by an event (``edgeloop.golden``, ``edgeloop.adoption``).
    """
    row = _find(session, node)
    version = asked.version or (row.version if asked.look == "revert" else "")
    cloud.consumer.hint(row.site, node, asked.look, version)
    return Done(id=node)


def _find(session: SessionDep, name: str) -> Node:
    row = session.get(Node, name)
    if row is None:
        raise problem(404, f"there is no node {name!r}: `edgeloop fleet ls` lists them")
    return row
