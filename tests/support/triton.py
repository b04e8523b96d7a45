"""A real Triton for tests, and a plain blocking client of its HTTP interface."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from serving.gateway.triton_client import encode_infer
from serving.scorer.config import ScorerConfig
from serving.triton.config import TritonConfig
from serving.triton.installation import find_installation
from serving.triton.server import TritonServer
from serving.triton.start import start_models
from streams.contract.columns import Array
from streams.contract.errors import UnavailableError
from streams.contract.wire import NUMPY_DTYPES, Info, info_from, pack_probe
from tests.support.valkey import wait_until

SLOWLY = TritonConfig(start_timeout_seconds=180.0)
"""Ports of its own, and time to start on a busy machine."""


def need_triton() -> None:
    """Skips the test, saying why, where the server is not installed."""
    try:
        find_installation()
    except UnavailableError as error:
        pytest.skip(f"no Triton: {error}")


@contextmanager
def ranker(folder: Path, scorer: ScorerConfig, *, triton: TritonConfig | None = None) -> Iterator[TritonServer]:
    """A Triton with the model `ranker`, stopped at the end."""
    with start_models(folder, scorer, triton or SLOWLY, environment={}) as server:
        yield server


class BlockingClient:
    """One connection to one Triton. For one thread."""

    def __init__(self, address: str, model: str = "ranker") -> None:
        self._connection = http.client.HTTPConnection(address, timeout=30)
        self._path = f"/v2/models/{model}/infer"

    def infer(self, tensors: Mapping[str, Array]) -> tuple[int, dict[str, Array], str]:
        """(status, output tensors, error message)."""
        head_bytes, body = encode_infer(tensors)
        headers = {"Inference-Header-Content-Length": str(head_bytes), "Content-Type": "application/octet-stream"}
        self._connection.request("POST", self._path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            return answer.status, {}, str(json.loads(content)["error"])
        return 200, _outputs(content, int(answer.headers["Inference-Header-Content-Length"])), ""

    def info(self) -> Info:
        """What the probe says."""
        status, outputs, message = self.infer(pack_probe())
        assert status == 200, message
        return info_from(outputs["info"])

    def wait_for_version(self, version: int) -> None:
        """Waits until at least `version` is applied."""
        wait_until(lambda: self.info().version >= version, f"version {version} was not applied", 60)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def _outputs(content: bytes, head_bytes: int) -> dict[str, Array]:
    outputs: dict[str, Array] = {}
    at = head_bytes
    for tensor in json.loads(content[:head_bytes])["outputs"]:
        size = tensor["parameters"]["binary_data_size"]
        flat = np.frombuffer(content[at : at + size], dtype=NUMPY_DTYPES[tensor["datatype"]])
        outputs[tensor["name"]] = flat.reshape(tensor["shape"])
        at += size
    return outputs
