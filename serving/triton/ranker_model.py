"""The scorer as a model of Triton's Python backend: tensors in, tensors out, nothing else.

Loaded inside Triton alone, which brings `triton_python_backend_utils`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from serving.scorer.config import ScorerConfig
from serving.scorer.scorer import Refusal, Result
from serving.scorer.service import ScorerService
from serving.triton.repository import scorer_from_json
from streams.contract.errors import FreshetError
from streams.contract.telemetry import METRICS
from streams.contract.wire import INPUTS

_METRICS_SECONDS = 1.0
_SWITCH_SECONDS = 0.0005


class RankerModel:
    """What Triton calls. One instance a process."""

    def initialize(self, arguments: dict[str, str]) -> None:
        """Starts the scorer; it refuses requests until a generation is live."""
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        # A thread that prepares a version must let a request go on at once, not after 5 ms.
        sys.setswitchinterval(_SWITCH_SECONDS)
        parameters = json.loads(arguments["model_config"])["parameters"]
        config: ScorerConfig = scorer_from_json(parameters["scorer"]["string_value"])
        try:
            self._service = ScorerService.start(config)
        except FreshetError as error:
            raise pb_utils.TritonModelException(str(error)) from error
        self._stopped = threading.Event()
        self._metrics = _Metrics()
        self._reporter = threading.Thread(target=self._report, name="scorer-metrics", daemon=True)
        self._reporter.start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Scores the requests that Triton put together, as one batch."""
        tensors = [
            {
                name: tensor.as_numpy()
                for name in INPUTS
                if (tensor := pb_utils.get_input_tensor_by_name(request, name)) is not None
            }
            for request in requests
        ]
        return [_response(result) for result in self._service.score(tensors)]

    def finalize(self) -> None:
        """Stops the scorer."""
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


class _Metrics:
    """The scorer's metrics on Triton's own metrics page."""

    def __init__(self) -> None:
        self._counted: dict[str, float] = {}
        self._families = []
        self._metrics = {}
        for metric in METRICS:
            if metric.name.startswith("freshet_scorer_"):
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


def _response(result: Result) -> Any:
    if isinstance(result, Refusal):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(result.message))
    probabilities = result.probabilities if result.probabilities.size else np.zeros(1, dtype=np.float32)
    return pb_utils.InferenceResponse([
        pb_utils.Tensor("probability", np.ascontiguousarray(probabilities, dtype=np.float32).reshape(1, -1)),
        pb_utils.Tensor("info", result.info.as_array()),
    ])  # fmt: skip
