from __future__ import annotations

from pathlib import Path

import pytest

from streams.contract.errors import InputError
from streams.log.kafka_settings import KafkaSettings

SECRETS = {"FRESHET_KAFKA_USERNAME": "me", "FRESHET_KAFKA_PASSWORD": "secret"}


def test_address_with_two_servers_and_no_options_is_plaintext() -> None:
    settings = KafkaSettings.from_address("kafka://one:9092,two:9093", {})
    assert settings.servers == ("one:9092", "two:9093")
    assert settings.client_options()["security_protocol"] == "PLAINTEXT"


def test_address_options_and_environment_reach_the_client() -> None:
    address = (
        "kafka://one:9093?security_protocol=SASL_SSL&sasl_mechanism=PLAIN"
        "&check_hostname=false&request_timeout_seconds=2.5"
    )
    options = KafkaSettings.from_address(address, SECRETS).client_options()
    assert options["sasl_mechanism"] == "PLAIN"
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("me", "secret")
    assert options["ssl_context"].check_hostname is False
    assert options["request_timeout_ms"] == 2500


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("kafka://", "HOST:PORT"),
        ("kafka://one", "HOST:PORT"),
        ("kafka://one:port", "HOST:PORT"),
        ("kafka://one:70000", "HOST:PORT"),
        ("kafka://one:9092,", "HOST:PORT"),
        ("kafka://one:9092?no_such=1", "no_such"),
        ("kafka://one:9092?security_protocol=TLS", "security_protocol"),
        ("kafka://one:9092?sasl_mechanism=GSSAPI", "sasl_mechanism"),
        ("kafka://one:9092?request_timeout_seconds=soon", "request_timeout_seconds"),
        ("kafka://one:9092?request_timeout_seconds=-1", "request_timeout_seconds"),
        ("kafka://one:9092?check_hostname=perhaps", "check_hostname"),
    ],
)
def test_wrong_address_raises_input_error_naming_what(address: str, named: str) -> None:
    with pytest.raises(InputError, match=named):
        KafkaSettings.from_address(address, {})


def test_sasl_without_user_raises_input_error_naming_the_variables() -> None:
    with pytest.raises(InputError, match="FRESHET_KAFKA_USERNAME"):
        KafkaSettings.from_address("kafka://one:9092?security_protocol=SASL_PLAINTEXT", {})


@pytest.mark.parametrize("option", ["ca_file", "certificate_file"])
def test_missing_or_wrong_tls_file_raises_input_error_naming_it(option: str, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for path in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
        settings = KafkaSettings.from_address(f"kafka://one:9092?security_protocol=SSL&{option}={path}", {})
        with pytest.raises(InputError, match=path.name):
            settings.client_options()


@pytest.mark.parametrize("address", ["kafka://me:secret@one:9092", "kafka://one:9092?password=secret"])
def test_secret_in_the_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(InputError, match="environment") as raised:
        KafkaSettings.from_address(address, {})
    assert "secret@" not in str(raised.value)
    assert "=secret" not in str(raised.value)
