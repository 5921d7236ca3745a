"""Fixtures of the rooms that are crossed here: updates on a node, and the ECG app's side of the cloud."""

from __future__ import annotations

from tests.apps.conftest import engine, session
from tests.apps.ecg.conftest import client, cloud_app, project
from tests.common.edge.conftest import node, site

__all__ = ["client", "cloud_app", "engine", "node", "project", "session", "site"]
