"""The dashboard: pages for people, mounted in the API's process at ``/ui``.

It is a client of the public API and of nothing else. Each app brings its own pages (`common.pages`).
"""

from cloud_backend.dashboard.layout.mounting import mount

__all__ = ["mount"]
