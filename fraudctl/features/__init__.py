"""Features: one definition, engines that agree.

`define` says what a project's features mean, `build` computes them for all events; `loading` saves time before.
"""

from fraudctl.features.batch import build, loading
from fraudctl.features.definition import Feature, FeatureSet, define

__all__ = ["Feature", "FeatureSet", "build", "define", "loading"]
