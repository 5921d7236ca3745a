"""The dashboard: pages for operators, mounted in the API's process at ``/ui``.

It uses the public API only. Apps add their own pages (`common.pages`).
"""

from cloud_backend.dashboard.layout.mounting import mount

__all__ = ["mount"]
