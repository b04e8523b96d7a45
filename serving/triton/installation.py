"""Where the Triton server of the `nvidia-pytriton` wheel lies, and what it needs around it.

pytriton/tritonserver/bin/tritonserver                        the server
pytriton/tritonserver/backends/python/*                  ┐    one backend directory, put
pytriton/tritonserver/python_backend_stubs/3.11/…stub    ┘    together in the run directory
nvidia_pytriton.libs/*                                        shared libraries of both
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from streams.contract.errors import UnavailableError

_STUB = "triton_python_backend_stub"


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """A usable Triton: its binary, backend parts and the directories of shared libraries."""

    binary: Path
    backend_parts: tuple[Path, ...]
    library_dirs: tuple[Path, ...]


def find_installation() -> Installation:
    """The wheel's Triton. Raises UnavailableError saying what is missing and what to install."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise _unavailable("runs on Linux x86-64 only", f"{platform.system()} {platform.machine()}")
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise _unavailable("the nvidia-pytriton wheel is not installed", None)
    package = Path(next(iter(spec.submodule_search_locations)))
    server = package / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = server / "python_backend_stubs" / version / _STUB
    binary = server / "bin" / "tritonserver"
    for part in (binary, stub):
        if not part.is_file():
            raise _unavailable("the nvidia-pytriton wheel lacks a part", str(part))
    parts = tuple(path for path in sorted((server / "backends" / "python").iterdir()) if path.is_file())
    libraries = (package.parent / "nvidia_pytriton.libs", *_python_library_dirs(version))
    return Installation(binary=binary, backend_parts=(*parts, stub), library_dirs=libraries)


def assemble_backends(installation: Installation, run_dir: Path) -> Path:
    """Puts the backend's parts together under `run_dir`; returns the backend directory."""
    backends = run_dir / "backends"
    python = backends / "python"
    python.mkdir(parents=True, exist_ok=True)
    for part in installation.backend_parts:
        shutil.copy2(part, python / part.name)
    return backends


def _python_library_dirs(version: str) -> tuple[Path, ...]:
    """Where libpython lies: beside this interpreter, or () where the system's linker finds it."""
    name = f"libpython{version}.so.1.0"
    beside = Path(sysconfig.get_config_var("LIBDIR") or sys.base_prefix) / name
    if beside.is_file():
        return (beside.parent,)
    try:
        ctypes.CDLL(name)
    except OSError as error:
        raise _unavailable(f"needs {name}", None, f"apt-get install libpython{version}") from error
    return ()


def _unavailable(message: str, value: object, remedy: str = "") -> UnavailableError:
    return UnavailableError(message, field="triton", value=value,
                            remedy=remedy or "use FRESHET_TRITON=inprocess, or the address of a Triton")  # fmt: skip
