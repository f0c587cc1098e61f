"""Features: one definition, engines that agree.

`define` says what a project's features mean, `build` computes them for all events; `loading` saves time before.
"""

from fraudctl.features.batch.build import build
from fraudctl.features.batch.loading import loading
from fraudctl.features.meaning.definition import Feature, FeatureSet, define

__all__ = ["Feature", "FeatureSet", "build", "define", "loading"]
