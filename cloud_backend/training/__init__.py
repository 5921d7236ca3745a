"""Training: samples and labels in, a judged candidate in the registry out."""

from cloud_backend.training.jobs import Jobs
from cloud_backend.training.samples import SampleStore

__all__ = ["Jobs", "SampleStore"]
