"""Keeps a Triton of ours going: starts it again where it ended, loads a model again whose process ended.

Triton 2.51 does neither. A model whose process ended refuses every request from then on, while the server's health
pages tell that all is well. A process that is stopped while a request waits for it is given up after a second, and
the server aborts when that process wakes: so it had better not wake.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from serving.triton.config import TritonConfig
from serving.triton.model_processes import ModelProcesses
from serving.triton.server import TritonServer
from streams.contract.errors import FreshetError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisorConfig:
    """How often it looks, and how fast it mends."""

    look_seconds: float = 0.2
    stopped_seconds: float = 1.0
    """A model's process that has been stopped for so long is killed: as long as Triton waits for one."""
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    steady_seconds: float = 60.0
    """Nothing to mend for so long: the next fault is mended at once again."""


class Supervisor:
    """One server and those that take its place, at the same ports."""

    def __init__(
        self, start: Callable[[TritonConfig], TritonServer], triton: TritonConfig,
        config: SupervisorConfig | None = None,
    ) -> None:  # fmt: skip
        """Starts the server, from the thread that will supervise it. Raises as `start` does."""
        self._config = config or SupervisorConfig()
        self._start = start
        self._pauses = Pauses(self._config)
        self._follow(start(triton))

    def run(self, stop: threading.Event) -> None:
        """Mends what breaks until `stop` is set, then stops the server."""
        try:
            while not stop.wait(self._config.look_seconds):
                self._look(stop)
        finally:
            self._server.stop()

    def _follow(self, server: TritonServer) -> None:
        self._server = server
        self._processes = ModelProcesses(server.pid, server.models)

    def _look(self, stop: threading.Event) -> None:
        if not self._server.running:
            self._restart(stop)
            return
        for model in self._processes.kill_stopped(self._config.stopped_seconds):
            _LOG.warning("the process of the model %s was stopped and does not answer: killed", model)
        for model in self._processes.ended():
            if self._server.running:
                self._load(model, stop)

    def _restart(self, stop: threading.Event) -> None:
        """Starts another server. Where that fails, the next look tries again."""
        pause = self._pauses.next()
        _LOG.error("Triton ended with code %s, starts again in %g s", self._server.exit_code, pause)
        self._server.stop()  # The models' processes may have outlived it.
        if stop.wait(pause):
            return
        try:
            self._follow(self._start(self._server.config))
        except FreshetError as error:
            _LOG.error("Triton did not start: %s", error)
        else:
            _LOG.info("Triton runs again")

    def _load(self, model: str, stop: threading.Event) -> None:
        """Loads the model anew. Where that fails, the server is stopped, and the next look starts another."""
        pause = self._pauses.next()
        _LOG.error("the process of the model %s ended, it is loaded again in %g s", model, pause)
        if stop.wait(pause):
            return
        try:
            self._server.load_model(model)
        except FreshetError as error:
            _LOG.error("the model %s was not loaded again, Triton is stopped: %s", model, error)
            self._server.stop()
        else:
            _LOG.info("the model %s is loaded again", model)


class Pauses:
    """How long to wait before something is mended: not at all at first, ever longer where it breaks again and again."""

    def __init__(self, config: SupervisorConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._pause = 0.0
        self._asked_at = -float("inf")

    def next(self) -> float:
        """Seconds."""
        config, now = self._config, self._clock()
        if now - self._asked_at > self._pause + config.steady_seconds:
            self._pause = 0.0
        else:
            self._pause = min(max(config.first_pause_seconds, 2 * self._pause), config.longest_pause_seconds)
        self._asked_at = now
        return self._pause
