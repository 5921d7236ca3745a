"""The cloud's commands: ``edgeloop cloud | fleet | model | rollout | keys | data``."""

from cloud_backend.commands.datasets import app as data
from cloud_backend.commands.fleets import app as fleet
from cloud_backend.commands.keys import app as keys
from cloud_backend.commands.models import app as model
from cloud_backend.commands.operating import app as cloud
from cloud_backend.commands.rollouts import app as rollout

__all__ = ["cloud", "data", "fleet", "keys", "model", "rollout"]
