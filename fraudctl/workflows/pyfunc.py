"""A bundle as an MLflow pyfunc model: what `mlflow.pyfunc.load_model` loads, and what its ``predict`` answers.

Owns the way from a pandas frame to the decisions of `score` and back. Nothing is pickled: MLflow calls `_load_pyfunc`
with the folder of the bundle, which is verified before a byte of it is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fraudctl.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from fraudctl.workflows.score import Model

KEYS = ("history", "sources")


class ScoringModel:
    """A bundle behind the interface of pyfunc.

    Parameters
    ----------
    model
        What `fraudctl.workflows.score.open_model` returned.
    history
        Files of the events before those that are asked for: what windows look back on.
    sources
        Name of another table, or of a table of labels -> its files.
    """

    def __init__(
        self, model: Model, *, history: Sequence[str] = (), sources: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._model, self._history, self._sources = model, tuple(history), dict(sources or {})

    def predict(self, data: pd.DataFrame, params: object = None) -> pd.DataFrame:  # noqa: ARG002 - of the interface
        """Return the decisions on new events, as ``fraudctl score`` writes them, one row for each event.

        Parameters
        ----------
        data
            New events with the columns that the model was trained on, names and types as there.

        Raises
        ------
        DataError
            As `score` does.
        """
        import polars as pl

        from fraudctl.data.outputs import write_parquet
        from fraudctl.workflows.score import score_files

        with tempfile.TemporaryDirectory(prefix="fraudctl-pyfunc-") as name:
            new, answers = Path(name) / "new.parquet", Path(name) / "answers.parquet"
            write_parquet(pl.from_pandas(data), new)
            score_files(self._model, [new], output=answers, history=self._history, sources=self._sources)
            return pl.read_parquet(answers).to_pandas()


def _load_pyfunc(path: str, model_config: Mapping[str, object] | None = None) -> ScoringModel:
    """Open a bundle for MLflow.

    Parameters
    ----------
    path
        The folder that holds the bundle.
    model_config
        ``history``: a path or several; ``sources``: name -> a path or several.
    """
    from fraudctl.bundle import MANIFEST
    from fraudctl.workflows.score import open_model

    config = dict(model_config or {})
    unknown = sorted(set(config) - set(KEYS))
    if unknown:
        msg = f"model_config has {', '.join(unknown)}; expected {' and '.join(KEYS)}"
        raise UsageError(msg)
    (manifest,) = Path(path).rglob(MANIFEST)
    model = open_model(manifest.parent, str(manifest.parent), batch=True)
    sources = config.get("sources") or {}
    if not isinstance(sources, Mapping):
        msg = f"model_config sources is {type(sources).__name__}; expected names with their files"
        raise UsageError(msg)
    named = {str(name): _paths(value) for name, value in sources.items()}
    return ScoringModel(model, history=_paths(config.get("history") or ()), sources=named)


def _paths(value: object) -> list[str]:
    if isinstance(value, str | Path):
        return [str(value)]
    return [str(item) for item in value] if isinstance(value, Sequence) else []
