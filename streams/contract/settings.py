"""Addresses and secrets, from the environment and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Where the servers are. Empty means: the embedded default."""

    log: str = ""
    """FRESHET_LOG: `embedded:DIR` or `kafka://HOST:PORT`."""
    redis: str = ""
    """FRESHET_REDIS: `redis://HOST:PORT[,HOST:PORT]`."""
    triton: str = ""
    """FRESHET_TRITON: `http://HOST:PORT`, or `inprocess`."""
    kafka_username: str = ""
    kafka_password: str = ""
    redis_password: str = ""


def settings_from(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that `environment` holds."""
    names = ("log", "redis", "triton", "kafka_username", "kafka_password", "redis_password")
    return Settings(**{name: environment.get(f"FRESHET_{name.upper()}", "") for name in names})
