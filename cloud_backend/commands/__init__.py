"""The cloud's commands: ``edgeloop cloud | fleet | model | rollout | data``."""

from cloud_backend.commands.datasets import app as data
from cloud_backend.commands.fleets import app as fleet
from cloud_backend.commands.models import app as model
from cloud_backend.commands.rollouts import app as rollout
from cloud_backend.commands.up import app as cloud

__all__ = ["cloud", "data", "fleet", "model", "rollout"]
