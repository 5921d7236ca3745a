"""Signing keys of the update repository: roles, and their rotation."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from cloud_backend.api.dependencies import CloudDep
from cloud_backend.api.paging import Page
from cloud_backend.api.problem import problem, responses
from cloud_backend.api.schemas.keys import RolePublic
from common.errors import RegistryError

router = APIRouter(prefix="/v1/keys", tags=["keys"])
Role = Annotated[str, Path(max_length=63, description="root, timestamp, snapshot, targets, or an app")]


@router.get("", responses=responses())
def list_keys(cloud: CloudDep) -> Page[RolePublic]:
    """Every role with the ids of its public keys; private keys never leave the cloud's data folder."""
    items = [
        RolePublic(role=role, keys=keys, version=version) for role, keys, version in cloud.repository.roles()
    ]
    return Page(items=items, next=None)


@router.post("/{role}/rotate", responses=responses(404, 409, 413, 422))
def rotate(role: Role, cloud: CloudDep) -> RolePublic:
    """Replace the keys of a role, such as after a compromise. Nodes follow at their next check for updates.

    After the rotation of an app's key, nodes discard the deployment serials that the old key signed.
    """
    known = [name for name, *_ in cloud.repository.roles()]
    if role not in known:
        raise problem(404, f"the update repository has no role {role!r}; it has {', '.join(known)}")
    try:
        cloud.rollouts.rotate_keys(role)
    except RegistryError as error:
        raise problem(409, str(error)) from error
    return next(
        RolePublic(role=name, keys=keys, version=version)
        for name, keys, version in cloud.repository.roles()
        if name == role
    )
