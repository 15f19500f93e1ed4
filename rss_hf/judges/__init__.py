"""What gives a reward where no mask does: tags, areas, a network, a function of one map, a server."""

from .class_tags import class_areas, class_tags
from .judge import Judge
from .model import ModelReward
from .per_map import PerMap, per_map
from .remote import RemoteReward


__all__ = ["Judge", "ModelReward", "PerMap", "RemoteReward", "class_areas", "class_tags", "per_map"]
