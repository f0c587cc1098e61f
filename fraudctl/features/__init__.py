"""Features: one definition, engines that agree.

`define` says what a project's features mean, `build` computes them for all events; `loading` saves time before.
"""

from fraudctl.features.batch import build
from fraudctl.features.definition import Feature, FeatureSet, define
from fraudctl.features.loading import loading

__all__ = ["Feature", "FeatureSet", "build", "define", "loading"]
