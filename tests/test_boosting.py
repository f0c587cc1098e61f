"""CatBoost without pandas: not loaded for fraudctl, and seen by CatBoost where a program hands its frames over."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from source_code import modules, walk

HEAD = """
import sys
import numpy as np, polars as pl
from fraudctl.boosting import CatBoost, Pool

settings = {"iterations": 3, "logging_level": "Silent", "allow_writing_files": False, "loss_function": "Logloss"}
plain = {"a": [1.0, 2.0, 3.0, 4.0], "b": ["x", "y", "x", "y"]}
y = np.array([0, 1, 1, 0])
pool = Pool(pl.DataFrame(plain), y, cat_features=["b"])
model = CatBoost(settings)
model.fit(pool)
scores = model.predict(pool)
model.get_feature_importance(pool, type="ShapValues")
assert "pandas" not in sys.modules
"""


def alone(code: str) -> None:
    """Run code in a process of its own, where pandas is not loaded yet."""
    done = subprocess.run([sys.executable, "-c", HEAD + code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_fitting_and_explaining_load_no_pandas() -> None:
    alone("")


def test_frames_and_series_of_pandas_are_recognised_once_it_is_there() -> None:
    alone("""
import pandas as pd
frame = pd.DataFrame(plain)
again = CatBoost(settings)
again.fit(Pool(frame, pd.Series(y), cat_features=["b"]))
assert (again.predict(frame) == scores).all()
""")


def test_what_catboost_returns_as_a_frame_is_one_of_pandas() -> None:
    alone("""
found = model.get_feature_importance(pool, prettified=True)
import pandas as pd
assert type(found) is pd.DataFrame and isinstance(found["Importances"], pd.Series)
""")


def test_other_names_are_those_of_pandas() -> None:
    alone("""
import catboost.core
stand_in = catboost.core.pd
assert stand_in.Categorical is sys.modules["pandas"].Categorical
try:
    stand_in.no_such_name
except AttributeError:
    pass
else:
    raise AssertionError
""")


def test_pandas_that_is_loaded_stays() -> None:
    code = "import pandas, fraudctl.boosting, catboost.core; assert catboost.core.pd is pandas"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_else_imports_catboost() -> None:
    nodes = [(path, node) for path, tree in modules() for node in walk(tree)]
    found = {path for path, node in nodes if isinstance(node, ast.ImportFrom) and node.module == "catboost"}
    found |= {
        path for path, node in nodes if isinstance(node, ast.Import) and any(a.name == "catboost" for a in node.names)
    }
    assert found == {Path("boosting.py")}
