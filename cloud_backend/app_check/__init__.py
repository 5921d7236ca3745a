"""Checks of the cloud's side, the pages and the training of an app, for ``edgeloop app check``."""

from cloud_backend.app_check.learning import CHECKS as LEARNING
from cloud_backend.app_check.pages import CHECKS as PAGES
from cloud_backend.app_check.projection import CHECKS as PROJECTION
from cloud_backend.app_check.routes import CHECKS as ROUTES

__all__ = ["CHECKS"]
CHECKS = [*PROJECTION, *ROUTES, *PAGES, *LEARNING]
