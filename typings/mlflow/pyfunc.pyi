from collections.abc import Mapping, Sequence

def save_model(
    path: str,
    loader_module: str | None = None,
    data_path: str | None = None,
    *,
    model_config: Mapping[str, object] | None = None,
    pip_requirements: Sequence[str] | None = None,
) -> None: ...
