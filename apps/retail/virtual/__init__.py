"""The virtual camera."""
