class RunInfo:
    run_id: str
    status: str
    artifact_uri: str

class RunData:
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]

class Run:
    info: RunInfo
    data: RunData

class Experiment:
    experiment_id: str

class RegisteredModel:
    name: str
    aliases: dict[str, str]

class ModelVersion:
    version: str
    run_id: str
    tags: dict[str, str]
