"""Settings of the app on one node: show, change."""

from __future__ import annotations

from fastapi import APIRouter
from sqlmodel import Session

from cloud_backend.api.dependencies import CloudDep, PrincipalDep, SessionDep
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.routes.nodes import NodeName
from cloud_backend.api.schemas.node_settings import ChangeSettings, NodeSettingsPublic
from cloud_backend.store.engine import read_only
from cloud_backend.store.tables import Node, NodeSettings
from common.errors import SettingsRefused

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])


@router.get("/{node}/settings", responses=responses(404, 422))
def show_settings(node: NodeName, session: SessionDep) -> NodeSettingsPublic:
    """The newest change of the app's settings on a node, and the node's answer."""
    return _show(session, node)


@router.put("/{node}/settings", responses=responses(404, 409, 413, 422))
def change_settings(
    node: NodeName, body: ChangeSettings, cloud: CloudDep, principal: PrincipalDep
) -> NodeSettingsPublic:
    """Change the app's settings on a node.

    The change is sent sealed for the node, again until it answers. The node applies it between two readings,
    or refuses it with a reason; settings that it decides itself cannot be changed from here.
    """
    try:
        cloud.node_settings.change(node, body.settings, str(principal.name), base=body.base)
    except LookupError as error:
        raise _unknown(node) from error
    except SettingsRefused as error:
        raise problem(409, str(error)) from error
    with Session(read_only(cloud.engine)) as session:
        return _show(session, node)


def _show(session: Session, node: str) -> NodeSettingsPublic:
    found = session.get(Node, node)
    if found is None:
        raise _unknown(node)
    return NodeSettingsPublic.of(session.get(NodeSettings, node) or NodeSettings(node=node, app=found.app))


def _unknown(node: str) -> Exception:
    return problem(404, f"no node {node!r}: `edgeloop fleet ls` lists all")
