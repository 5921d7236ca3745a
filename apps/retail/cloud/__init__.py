"""The part in the cloud."""
