"""What `status` says of a service: asked, not guessed."""

from __future__ import annotations

from freshet.health import health_of
from streams.metrics_page import MetricsPage
from tests.support.foreign_server import foreign_server
from tests.support.ports import free_port
from tests.support.valkey import valkey_server


def test_stopped_service_is_stopped_whatever_answers_at_its_address() -> None:
    assert health_of("gateway", False, {}) == "stopped"


def test_gateway_that_runs_and_does_not_answer_is_not_ok() -> None:
    addresses = {"gateway": f"http://127.0.0.1:{free_port()}"}
    assert health_of("gateway", True, addresses).startswith("does not answer")


def test_store_is_ok_while_it_answers_and_says_why_it_does_not() -> None:
    with valkey_server() as server:
        assert health_of("store", True, {"redis": server.address}) == "ok"
    assert server.address.removeprefix("redis://") in health_of("store", True, {"redis": server.address})


def test_something_else_at_the_store_s_address_is_no_store() -> None:
    with foreign_server() as port:
        assert health_of("store", True, {"redis": f"redis://127.0.0.1:{port}"}) != "ok"


def test_worker_tells_on_its_page_what_it_waits_for() -> None:
    degraded: list[str] = []
    with MetricsPage("127.0.0.1", 0, list, lambda: degraded) as page:
        assert health_of("joiner", True, {}, f"{page.url}/metrics") == "ok"
        degraded.append("the log is away")
        assert health_of("joiner", True, {}, f"{page.url}/metrics") == "the log is away"
    assert health_of("joiner", True, {}, f"{page.url}/metrics").startswith("does not answer")
    with foreign_server() as port:
        assert health_of("trainer", True, {}, f"http://127.0.0.1:{port}/metrics").startswith("does not answer")
