"""What every result carries: the machine, the versions, the time."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "torchrec", "numpy", "onnxruntime", "fastapi", "redis", "kafka-python", "nvidia-pytriton")


def describe(repeats: int) -> dict[str, Any]:
    """Cores, memory, processor, package versions and the number of repeats."""
    return {
        "machine": {"cores": os.cpu_count(), "memory_gib": round(_memory_bytes() / 2**30, 1), "processor": _processor(),
                    "system": platform.platform()},
        "versions": {name: _version(name) for name in _PACKAGES},
        "repeats": repeats,
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"
