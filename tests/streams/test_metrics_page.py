"""The page of a worker: what Prometheus reads there, and what becomes of questions it cannot answer."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import nullcontext

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.contract.errors import InputError
from streams.contract.telemetry import Sample
from streams.metrics_page import MetricsPage, open_page


def get(url: str) -> tuple[int, str, str]:
    """(status, media type, body)."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_samples_are_scraped_as_they_are_at_that_moment() -> None:
    counts = {"undecodable": 2.0, 'odd "one"\n': 1.0}

    def read() -> Iterator[Sample]:
        yield from (Sample("freshet_dead_letters_total", count, (reason,)) for reason, count in counts.items())
        yield Sample("freshet_auc", 0.75)

    with MetricsPage("127.0.0.1", 0, read, list) as page:
        for _ in range(2):
            status, media, text = get(f"{page.url}/metrics?name=x")
            assert (status, media) == (200, "text/plain; version=0.0.4; charset=utf-8")
            families = {family.name: family for family in text_string_to_metric_families(text)}
            letters = families["freshet_dead_letters"]
            assert (letters.type, families["freshet_auc"].type) == ("counter", "gauge")
            assert {sample.labels["reason"]: sample.value for sample in letters.samples} == counts
            assert families["freshet_auc"].documentation
            counts["undecodable"] += 1


def test_health_names_what_does_not_work_and_other_paths_are_not_found() -> None:
    degraded = ["the log is away"]
    with MetricsPage("127.0.0.1", 0, list, lambda: degraded) as page:
        status, media, text = get(f"{page.url}/healthz")
        assert (status, media) == (200, "application/json")
        assert json.loads(text) == {"status": "alive", "degraded": degraded}
        assert get(f"{page.url}/nothing")[0] == 404


def test_page_that_cannot_read_the_worker_says_so_and_goes_on() -> None:
    broken = [True]

    def read() -> Iterable[Sample]:
        if broken[0]:
            raise RuntimeError("half changed")
        return [Sample("freshet_auc", 0.5)]

    with MetricsPage("127.0.0.1", 0, read, list) as page:
        assert get(f"{page.url}/metrics")[0] == 500
        broken[0] = False
        assert get(f"{page.url}/metrics")[0] == 200


def test_client_that_sends_nothing_keeps_no_other_waiting() -> None:
    with MetricsPage("127.0.0.1", 0, list, list) as page:
        host, port = page.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))):
            assert get(f"{page.url}/healthz")[0] == 200


def test_port_is_free_again_when_the_page_is_closed() -> None:
    with MetricsPage("127.0.0.1", 0, list, list) as page:
        port = int(page.url.rpartition(":")[2])
        with pytest.raises(InputError, match="is taken") as caught:
            MetricsPage("127.0.0.1", port, list, list)
        assert (caught.value.field, caught.value.value) == ("metrics_port", port)
    MetricsPage("127.0.0.1", port, list, list).close()


@pytest.mark.parametrize(
    ("host", "port", "field"), [("127.0.0.1", 70_000, "metrics_port"), ("no such host", 0, "host")]
)
def test_address_that_is_none_is_an_input_error(host: str, port: int, field: str) -> None:
    with pytest.raises(InputError) as caught:
        MetricsPage(host, port, list, list)
    assert caught.value.field == field
    assert caught.value.remedy


def test_without_a_port_there_is_no_page() -> None:
    assert isinstance(open_page("127.0.0.1", None, list, list), nullcontext)
