"""What gives a reward where no mask does: judges of one map at a time, here or far."""

from .judge import Judge
from .per_map import PerMap, per_map
from .remote import RemoteReward


__all__ = ["Judge", "PerMap", "RemoteReward", "per_map"]
