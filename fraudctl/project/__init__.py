"""The project file: one frozen, typed value that everything else takes its settings from."""

from fraudctl.project.load import (
    FILE_NAME,
    Project,
    ProjectFile,
    json_schema,
    load_project,
    parse_project,
)
from fraudctl.project.types import Aggregate, Duration, PositiveDuration

__all__ = [
    "FILE_NAME", "Aggregate", "Duration", "PositiveDuration", "Project", "ProjectFile", "json_schema", "load_project",
    "parse_project",
]  # fmt: skip
