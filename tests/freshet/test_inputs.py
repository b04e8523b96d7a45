"""What a stack was given is checked before anything is started."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from freshet.inputs import check_inputs, check_port, check_triton
from freshet.stack import StackConfig
from streams.contract.errors import FreshetError, InputError, UnavailableError
from streams.datasets.registry import schema_path
from tests.support.foreign_server import foreign_server
from tests.support.ports import free_port


def config(**changes: Any) -> StackConfig:
    return StackConfig(**{"folder": Path("unused"), "schema": schema_path("simulator:small"), **changes})


def test_good_inputs_pass() -> None:
    check_inputs(config(port=free_port(), triton="inprocess"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("schema", Path("none.toml")), ("recipe", "nosuch"), ("port", 99_999), ("port", -1), ("log", "paper://roll"),
     ("redis", "cache.example"), ("recommender", Path("none")), ("triton", "http://")],
)  # fmt: skip
def test_what_cannot_be_is_an_input_error_naming_field_value_and_remedy(field: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        check_inputs(config(**{field: value}))
    assert caught.value.field == field
    assert str(caught.value.value) == str(value)
    assert caught.value.remedy


def test_port_that_another_listens_on_is_an_input_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="is taken") as caught:
            check_port("127.0.0.1", port)
    assert caught.value.value == port
    check_port("127.0.0.1", port)


@pytest.mark.parametrize(("field", "scheme"), [("redis", "redis"), ("triton", "http")])
def test_address_that_answers_with_something_else_is_told(field: str, scheme: str) -> None:
    with foreign_server() as port:
        address = f"{scheme}://127.0.0.1:{port}"
        with pytest.raises(FreshetError) as caught:
            check_inputs(config(**{field: address}))
    assert (caught.value.field, caught.value.value) == (field, address)
    assert "something" in caught.value.message
    assert caught.value.remedy


def test_triton_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(UnavailableError) as caught:
        check_triton(f"http://127.0.0.1:{free_port()}")
    assert caught.value.field == "triton"
