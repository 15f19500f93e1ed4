"""
The score posterior: a Gaussian posterior of each site's class, given the scores of all judged maps of an image.

Ours, not the paper's. All of it is in this folder.
"""

from .control_variate import ControlVariate
from .estimator import ScorePosterior


__all__ = ["ControlVariate", "ScorePosterior"]
