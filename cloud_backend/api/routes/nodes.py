"""Nodes: enrol, replace, retire, remove, list, show, and send hints."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from sqlalchemy import Select, select
from sqlmodel import Session, col

from cloud_backend.api.dependencies import CloudDep, SessionDep
from cloud_backend.api.paging import Page, Paging, page_of, public_page
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.schemas.base import Done
from cloud_backend.api.schemas.nodes import EnrolmentPublic, EnrolNode, Hint, NodePublic, ReplaceNode
from cloud_backend.api.schemas.rollouts import AdoptionPublic
from cloud_backend.broker.choice import broker_authority
from cloud_backend.runtime.addresses import unreachable
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Adoption, Node, NodeProblem
from common.errors import AccessDenied
from common.sealing import key_text

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])
NodeName = Annotated[str, Path(max_length=63, description="name of a node")]


class NodeFilter:
    """``?state=&site=&app=&name=`` of a request for nodes."""

    def __init__(
        self,
        state: Annotated[Literal["online", "offline", "unknown"] | None, Query()] = None,
        site: Annotated[str | None, Query(max_length=63)] = None,
        app: Annotated[str | None, Query(max_length=63)] = None,
        name: Annotated[str | None, Query(max_length=63, description="prefix of the name")] = None,
        retired: Annotated[bool, Query(description="retired nodes instead of those in service")] = False,
    ) -> None:
        self._retired = retired
        self._wanted = ((Node.state, state), (Node.site, site), (Node.app, app))
        self._name = name

    def query(self) -> Select[Any]:
        """The matching nodes."""
        query = select(Node).where(col(Node.retired_ns) > 0 if self._retired else col(Node.retired_ns) == 0)
        for column, wanted in self._wanted:
            if wanted is not None:
                query = query.where(col(column) == wanted)
        if self._name:
            query = query.where(col(Node.name).startswith(self._name.lower(), autoescape=True))
        return query


NodeFilterDep = Annotated[NodeFilter, Depends()]


@router.post("", status_code=201, responses=responses(409, 413, 422))
def enrol(body: EnrolNode, cloud: CloudDep) -> EnrolmentPublic:
    """Enrol a node, or replace the credentials of an enrolled one.

    The answer is the node's enrolment file. Its secrets are shown only here.
    """
    _check_addresses(cloud, body.allow_loopback)
    return _enrol(cloud, body.node, body.site)


@router.post("/{node}/retire", responses=responses(404, 413, 422))
def retire(node: NodeName, cloud: CloudDep) -> NodePublic:
    """Revoke a node's credentials for good. Its history is kept; counts and rollouts exclude it."""
    site = _known(cloud, node).site
    cloud.access.retire(node)
    cloud.broker.remove_node(site, node)
    return _known(cloud, node)


@router.post("/{node}/replace", status_code=201, responses=responses(404, 409, 413, 422))
def replace(node: NodeName, body: ReplaceNode, cloud: CloudDep) -> EnrolmentPublic:
    """Replace the device of a node, under the same name or a new one at the same site.

    The old device's credentials are revoked at once. Under a new name the old node is retired, referring to
    the new one. The answer is the new device's enrolment file; its secrets are shown only here.
    """
    site = _known(cloud, node).site
    _check_addresses(cloud, body.allow_loopback)
    name = body.name or node
    if name != node and _is_known(cloud, name):
        raise problem(409, f"{name} is already enrolled: choose an unused name")
    cloud.broker.remove_node(site, node)
    if name == node:
        cloud.access.reinstate(node)
    else:
        cloud.access.retire(node, replaced_by=name)
    return _enrol(cloud, name, site)


@router.delete("/{node}", responses=responses(404, 409, 422))
def remove(node: NodeName, cloud: CloudDep) -> Done:
    """Delete a node without any data, such as one enrolled by mistake."""
    site = _known(cloud, node).site
    try:
        cloud.access.remove(node)
    except AccessDenied as error:
        raise problem(409, str(error)) from error
    cloud.broker.remove_node(site, node)
    return Done(id=node)


def _check_addresses(cloud: CloudDep, allow_loopback: bool) -> None:
    wrong = unreachable(cloud.settings, cloud.http_url, cloud.mqtt_host)
    if wrong and not allow_loopback:
        raise problem(409, f"{wrong}; for a node on this machine use --force (allow_loopback in the API)")


def _enrol(cloud: CloudDep, node: str, site: str) -> EnrolmentPublic:
    try:
        token, password = cloud.access.enrol(node, site)
    except AccessDenied as error:
        raise problem(409, str(error)) from error
    cloud.broker.add_node(site, node, password)
    return EnrolmentPublic(
        node=node,
        site=site,
        cloud_url=cloud.http_url,
        mqtt_host=cloud.mqtt_host,
        mqtt_port=cloud.mqtt_port,
        mqtt_password=password,
        token=token,
        tuf_root=cloud.repository.root(),
        wire_key=key_text(cloud.access.wire_keys.key(site, node)),
        mqtt_tls=cloud.settings.mqtt.tls,
        mqtt_ca=broker_authority(cloud.settings.mqtt),
    )


@router.get("", responses=responses(422))
def list_nodes(session: SessionDep, paging: Paging, node_filter: NodeFilterDep) -> Page[NodePublic]:
    """Nodes, by name."""
    keys = [col(Node.name)]
    page = page_of(session, node_filter.query(), keys, [str], paging, lambda row: row, newest_first=False)
    problems: dict[str, list[NodeProblem]] = defaultdict(list)
    names = [row.name for row in page.items]
    for problem_row in session.scalars(select(NodeProblem).where(col(NodeProblem.node).in_(names))):
        problems[problem_row.node].append(problem_row)
    return public_page(
        page.items, lambda row: NodePublic.of(row, problems[row.name]), lambda row: [row.name], page.next
    )


@router.get("/{node}", responses=responses(404, 422))
def show_node(node: NodeName, session: SessionDep) -> NodePublic:
    """One node."""
    row = _find(session, node)
    return NodePublic.of(row, session.scalars(select(NodeProblem).where(col(NodeProblem.node) == node)).all())


@router.get("/{node}/adoptions", responses=responses(404, 422))
def list_adoptions(node: NodeName, session: SessionDep, paging: Paging) -> Page[AdoptionPublic]:
    """Adoption steps of a node, newest first."""
    _find(session, node)
    query = select(Adoption).where(col(Adoption.node) == node)
    keys = [col(Adoption.stream_id), col(Adoption.seq)]
    return page_of(session, query, keys, [int, int], paging, AdoptionPublic.of)


@router.post("/{node}/hint", status_code=202, responses=responses(404, 413, 422))
def hint(node: NodeName, body: Hint, session: SessionDep, cloud: CloudDep) -> Done:
    """Make a node check for a deployment, run its live model's golden cases, or revert to its previous model.

    The command is a hint: an offline node does not receive it. The node reports the outcome by an event
    (``edgeloop.golden``, ``edgeloop.adoption``).
    """
    row = _find(session, node)
    version = body.version or (row.version if body.action == "revert" else "")
    cloud.consumer.hint(row.site, node, body.action, version)
    return Done(id=node)


def _known(cloud: CloudDep, name: str) -> NodePublic:
    """A node, read without a lock. Raises a 404 problem."""
    with Session(read_only(cloud.engine)) as session:
        return NodePublic.of(_find(session, name))


def _is_known(cloud: CloudDep, name: str) -> bool:
    with Session(read_only(cloud.engine)) as session:
        return session.get(Node, name) is not None


def _find(session: Session, name: str) -> Node:
    row = session.get(Node, name)
    if row is None:
        raise problem(404, f"no node {name!r}: `edgeloop fleet ls` lists all")
    return row
