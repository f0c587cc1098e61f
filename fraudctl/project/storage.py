"""``[storage]``: how object stores are reached. Secrets never stand here."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from fraudctl.disk.stores import is_address
from fraudctl.project.types import Section

_SECRET: Final = re.compile(
    r"secret|token|passw|credential|access_?key|account_?key|\bkey\b|_key$|\bsas\b", re.IGNORECASE
)


class StorageSection(Section):
    """Where object stores are, for addresses such as s3://bucket/events; by default what the environment says."""

    endpoint: str | None = None
    """URL of a store that speaks S3, such as "https://minio.example.org"; by default AWS_ENDPOINT_URL, or Amazon's."""
    region: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]{1,64}$")
    """Region of the buckets; by default AWS_REGION."""
    profile: str | None = Field(default=None, min_length=1, max_length=128)
    """Profile of ~/.aws/config that credentials of S3 come from; by default the environment of the process."""

    models: str | None = None
    """Address of models and their registry that several machines share, such as "s3://bank/fraud/models": the folder
    models/ is then a copy. By default that folder alone."""

    @field_validator("models")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not is_address(value):
            msg = f'{value!r} is no address of an object store; expected one such as "s3://bank/fraud/models"'
            raise ValueError(msg)
        return value

    @model_validator(mode="before")
    @classmethod
    def _holds_no_secret(cls, value: Any) -> Any:
        """Refuse keys that name a secret: a project file goes into version control, and into every bundle."""
        secrets = [key for key in value if _SECRET.search(str(key))] if isinstance(value, dict) else []
        if secrets:
            msg = (
                f"{secrets[0]} is a secret, and the project file goes into version control and bundles; "
                "give it in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), or name a profile"
            )
            raise ValueError(msg)
        return value

    @field_validator("endpoint")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://x")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f'{value!r} is no URL; expected one such as "https://minio.example.org"'
            raise ValueError(msg)
        if parts.username or parts.password or parts.query:
            msg = "holds a user, a password or a token; give them in the environment"
            raise ValueError(msg)
        return value
