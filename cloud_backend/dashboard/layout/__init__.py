"""The frame around every page: navigation, mounting and per-app sections."""
