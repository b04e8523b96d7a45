"""What our models of Triton's Python backend have in common: a service behind it, and its metrics on Triton's page.

Loaded inside Triton alone, which brings `triton_python_backend_utils`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import triton_python_backend_utils as pb_utils

from streams.contract.columns import Array
from streams.contract.errors import FreshetError
from streams.contract.telemetry import METRICS

_METRICS_SECONDS = 1.0
_SWITCH_SECONDS = 0.0005


class Stats(Protocol):
    """What a service counts."""

    def metrics(self) -> dict[str, float]:
        """Metric name -> value."""


class Service(Protocol):
    """What answers the requests."""

    def score(self, requests: Sequence[Mapping[str, Array]]) -> Sequence[Any]:
        """One result a request."""

    def stats(self) -> Stats:
        """Counts up to now."""

    def close(self) -> None:
        """Ends its threads and frees its connections."""


class PythonModel(ABC):
    """What Triton calls. One instance a process."""

    parameter: ClassVar[str]
    """The parameter of config.pbtxt that holds the service's configuration."""
    inputs: ClassVar[Sequence[str]]
    metrics_prefix: ClassVar[str]

    @abstractmethod
    def start(self, config: str) -> Service:
        """The service of that configuration; it refuses requests until a generation is live. Raises FreshetError."""

    @abstractmethod
    def response(self, result: Any) -> Any:
        """A result as Triton's response."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Starts the service."""
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        # A thread that prepares a version must let a request go on at once, not after 5 ms.
        sys.setswitchinterval(_SWITCH_SECONDS)
        parameters = json.loads(arguments["model_config"])["parameters"]
        try:
            self._service = self.start(parameters[self.parameter]["string_value"])
        except FreshetError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self._stopped = threading.Event()
        self._metrics = _Metrics(self.metrics_prefix)
        self._reporter = threading.Thread(target=self._report, name="metrics", daemon=True)
        self._reporter.start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers the requests that Triton put together, as one batch."""
        tensors = [
            {
                name: tensor.as_numpy()
                for name in self.inputs
                if (tensor := pb_utils.get_input_tensor_by_name(request, name)) is not None
            }
            for request in requests
        ]
        return [self.response(result) for result in self._service.score(tensors)]

    def finalize(self) -> None:
        """Stops the service."""
        self._stopped.set()
        self._reporter.join()
        self._service.close()

    def _report(self) -> None:
        server = os.getppid()
        while not self._stopped.wait(_METRICS_SECONDS):
            if os.getppid() != server:
                # The server was killed, and this process would outlive it, holding its memory and connections.
                os._exit(1)
            self._metrics.set(self._service.stats().metrics())


def refused(message: str) -> Any:
    """The response to a request that has no answer."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))


class _Metrics:
    """The service's metrics on Triton's own metrics page."""

    def __init__(self, prefix: str) -> None:
        self._counted: dict[str, float] = {}
        self._families = []
        self._metrics = {}
        for metric in METRICS:
            if metric.name.startswith(prefix):
                kind = pb_utils.MetricFamily.COUNTER if metric.kind == "counter" else pb_utils.MetricFamily.GAUGE
                family = pb_utils.MetricFamily(name=metric.name, description=metric.help, kind=kind)
                self._families.append(family)
                self._metrics[metric.name] = (metric.kind, family.Metric(labels={}))

    def set(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            kind, metric = self._metrics[name]
            if kind == "counter":
                metric.increment(value - self._counted.get(name, 0.0))
                self._counted[name] = value
            else:
                metric.set(value)
