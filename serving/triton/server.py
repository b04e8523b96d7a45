"""Starts and stops a Triton server with explicit model control.

The server leads a process group of its own, dies with the process that started it (see
streams/child_process.py), and takes its Python stubs with it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import serving
from serving.triton.config import TritonConfig
from serving.triton.control import http_ok, http_post
from serving.triton.installation import Installation, assemble_backends, find_installation
from streams.child_process import start_child
from streams.contract.errors import ConflictError, UnavailableError

PYTHON_PATH_VARIABLE = "FRESHET_PYTHON_PATH"
"""Tells the model files where our packages lie: Triton's interpreter does not read PYTHONPATH."""


class TritonServer:
    """A running server. Use `start`; it is a context manager, and `stop` may be called twice."""

    def __init__(
        self, process: subprocess.Popen[bytes], config: TritonConfig, ports: list[int], log: Path, repository: Path,
        models: Sequence[str],
    ) -> None:  # fmt: skip
        self._process = process
        self._config = config
        self._ports = ports
        self._log = log
        self._repository = repository
        self.models = tuple(models)
        self.http_address, self.grpc_address, self.metrics_address = (f"{config.host}:{port}" for port in ports)

    @staticmethod
    def start(
        repository: Path,
        run_dir: Path,
        config: TritonConfig | None = None,
        *,
        models: Sequence[str] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> TritonServer:
        """Starts the server over `repository`, loads `models`, and waits until all is ready.

        `run_dir` takes backend parts and its log, and keeps that of the server before it. Raises
        UnavailableError where the server is not installed or does not come up, ConflictError where a
        port is taken.
        """
        config = config or TritonConfig()
        installation = find_installation()
        ports = _choose_ports(config)
        run_dir.mkdir(parents=True, exist_ok=True)
        command = _command(installation, assemble_backends(installation, run_dir), repository, config, ports)
        command += [f"--load-model={name}" for name in models]
        log = run_dir / "triton.log"
        if log.exists():
            log.replace(run_dir / "triton.before.log")
        with log.open("wb") as output:
            environment = _environment(installation, environment)
            process = start_child(command, output, environment, death_signal=signal.SIGKILL)
        server = TritonServer(process, config, ports, log, repository, models)
        try:
            server._wait_until_ready()
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The code that it ended with, or minus the signal; None while it runs."""
        return self._process.poll()

    @property
    def config(self) -> TritonConfig:
        """How to start another one in its place: the ports are those that it took."""
        http, grpc, metrics = self._ports
        return replace(self._config, http_port=http, grpc_port=grpc, metrics_port=metrics)

    def load_model(self, name: str) -> None:
        """Loads (or loads again) a model of the repository; returns when it is ready. Raises UnavailableError."""
        # Triton does not load again what has not changed since, even where its process has ended.
        (self._repository / name / "1" / "model.py").touch()
        self._control(name, "load")

    def unload_model(self, name: str) -> None:
        """Unloads a model. Raises UnavailableError."""
        self._control(name, "unload")

    def stop(self) -> None:
        """Stops the server: it finishes what is in flight, then it and all its processes are gone."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._config.stop_timeout_seconds)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> TritonServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self._config.start_timeout_seconds
        while not http_ok(self.http_address, "/v2/health/ready"):
            if not self.running:
                raise self._failed(f"Triton ended with code {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._failed(f"Triton was not ready after {self._config.start_timeout_seconds:g} s")
            time.sleep(0.05)

    def _control(self, name: str, verb: str) -> None:
        path = f"/v2/repository/models/{name}/{verb}"
        status, body = http_post(self.http_address, path, self._config.load_timeout_seconds)
        if status != 200:
            raise self._failed(f"Triton could not {verb} the model {name}: {body}")

    def _failed(self, message: str) -> UnavailableError:
        lines = self._log.read_text(errors="replace").splitlines()
        said = [line for line in lines if line.startswith(("E", "error:")) or "Error" in line]
        return UnavailableError(f"{message}; its log says: {' | '.join((said or lines)[-3:])}", field="triton",
                                value=str(self._log), remedy="see the whole log in this file")  # fmt: skip


def _choose_ports(config: TritonConfig) -> list[int]:
    """The HTTP, gRPC and metrics ports, free ones chosen together so that they differ."""
    sockets: list[socket.socket] = []
    try:
        for name in ("http_port", "grpc_port", "metrics_port"):
            sockets.append(_bound(config.host, getattr(config, name), name))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _bound(host: str, port: int, name: str) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        remedy = "stop what listens there, or choose another port (0: a free one)"
        raise ConflictError(f"the port cannot be taken: {error.strerror}", field=name, value=f"{host}:{port}",
                            remedy=remedy) from error  # fmt: skip
    return sock


def _command(
    installation: Installation, backends: Path, repository: Path, config: TritonConfig, ports: list[int]
) -> list[str]:
    options = {
        "model-repository": repository,
        "backend-directory": backends,
        "model-control-mode": "explicit",
        "strict-readiness": "true",
        "exit-timeout-secs": max(1, round(config.stop_timeout_seconds) - 2),
        "http-thread-count": config.num_http_threads,
        "allow-gpu-metrics": "false",
        "log-verbose": 0,
    }
    for service, port in zip(("http", "grpc", "metrics"), ports, strict=True):
        options |= {f"{service}-address": config.host, f"{service}-port": port}
    settings = [f"--{name}={value}" for name, value in options.items()]
    # A model's process has as long to begin as the model has to load; of itself Triton waits half a minute.
    settings.append(f"--backend-config=python,stub-timeout-seconds={round(config.load_timeout_seconds)}")
    return [str(installation.binary), "--disable-auto-complete-config", *settings]


def _environment(installation: Installation, environment: Mapping[str, str]) -> dict[str, str]:
    libraries = [str(path) for path in installation.library_dirs]
    if environment.get("LD_LIBRARY_PATH"):
        libraries.append(environment["LD_LIBRARY_PATH"])
    ours = Path(serving.__file__).resolve().parent.parent
    packages = [str(ours), *(path for path in sys.path if "site-packages" in path)]
    return {
        **environment,
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        PYTHON_PATH_VARIABLE: os.pathsep.join(packages),
    }
