"""The metrics page of a worker that serves nothing else: `/metrics` for Prometheus, and `/healthz`.

    worker's thread ── leaves what it measured ──> read() <── page's thread, at each scrape

The page knows nothing of the worker but two functions, which it calls from threads of its own.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from streams.contract.telemetry import Sample, metric
from streams.listening import bind, url_of

_LOGGER = logging.getLogger(__name__)
_SLOWEST_CLIENT_SECONDS = 10.0
_TEXT = "text/plain; version=0.0.4; charset=utf-8"

Read = Callable[[], Iterable[Sample]]
Degraded = Callable[[], list[str]]
"""What does not work now, one sentence each; empty where all is well."""


def open_page(host: str, port: int | None, read: Read, degraded: Degraded) -> AbstractContextManager[object]:
    """The page, open while the block runs; nothing where `port` is None. Raises InputError as `MetricsPage`."""
    return nullcontext() if port is None else MetricsPage(host, port, read, degraded)


class MetricsPage:
    """A context manager; `url` is where it listens. Nobody is asked for a key: whoever reaches it may read."""

    def __init__(self, host: str, port: int, read: Read, degraded: Degraded) -> None:
        """Listens at once. Raises InputError naming `metrics_port` where the port is not to be had."""
        bound = bind(host, port, field="metrics_port")
        self.url = url_of(bound)
        self._registry = CollectorRegistry()
        self._registry.register(_Samples(read))
        self._degraded = degraded
        self._server = ThreadingHTTPServer((host, port), partial(_Handler, self._answer), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = bound
        self._server.server_activate()
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics-page", daemon=True)
        self._thread.start()
        _LOGGER.info("metrics: %s/metrics", self.url)

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsPage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        """(status, media type, body)."""
        if path == "/metrics":
            return 200, _TEXT, generate_latest(self._registry)
        if path == "/healthz":
            health = {"status": "alive", "degraded": self._degraded()}
            return 200, "application/json", json.dumps(health).encode()
        return 404, "text/plain", b"see /metrics and /healthz\n"


class _Samples(Collector):
    """Samples as the families of Prometheus; kind and help are those of the table."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in self._read():
            if sample.name not in families:
                families[sample.name] = _family(sample.name)
            families[sample.name].add_metric(sample.labels, sample.value)
        yield from families.values()


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    described = metric(name)
    assert described.kind != "histogram", "a sample is one number"
    make = CounterMetricFamily if described.kind == "counter" else GaugeMetricFamily
    return make(name, described.help, labels=described.labels)


class _Handler(BaseHTTPRequestHandler):
    """One request a connection; a client that stalls is dropped."""

    timeout = _SLOWEST_CLIENT_SECONDS
    server_version = "freshet"
    sys_version = ""

    def __init__(self, answer: Callable[[str], tuple[int, str, bytes]], *given: Any) -> None:
        self._answer = answer
        super().__init__(*given)

    def do_GET(self) -> None:
        try:
            status, media, body = self._answer(self.path.partition("?")[0])
        except Exception:
            _LOGGER.exception("%s could not be answered", self.path)
            status, media, body = 500, "text/plain", b"see the worker's log\n"
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *values: object) -> None:
        """A scrape every few seconds is no news."""
