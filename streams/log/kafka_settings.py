"""Where Kafka is and how to talk to it: the address with its options, secrets from the environment.

kafka://broker-1:9093,broker-2:9093?security_protocol=SASL_SSL&sasl_mechanism=SCRAM-SHA-512&ca_file=/etc/ca.pem
FRESHET_KAFKA_USERNAME, FRESHET_KAFKA_PASSWORD; FRESHET_KAFKA_KEY_PASSWORD for an encrypted client key
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from streams.contract.errors import InputError

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, kw_only=True)
class KafkaSettings:
    """`servers` are "host:port"; every other field but the secrets may stand in the address as an option.

    A transaction that is not ended within `transaction_timeout_seconds` is aborted by the broker;
    readers wait behind it for so long at most.
    """

    servers: tuple[str, ...]
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "SCRAM-SHA-512"
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    check_hostname: bool = True
    connect_timeout_seconds: float = 10.0
    request_timeout_seconds: float = 30.0
    transaction_timeout_seconds: float = 30.0
    username: str | None = None
    password: str | None = None
    key_password: str | None = None

    def __post_init__(self) -> None:
        _check_choice("security_protocol", self.security_protocol, _PROTOCOLS)
        _check_choice("sasl_mechanism", self.sasl_mechanism, _MECHANISMS)
        if self.security_protocol.startswith("SASL") and not (self.username and self.password):
            raise InputError(
                f"{self.security_protocol} needs a user and a password",
                field="log",
                remedy="set FRESHET_KAFKA_USERNAME and FRESHET_KAFKA_PASSWORD",
            )

    @classmethod
    def from_address(cls, address: str, environment: Mapping[str, str] = os.environ) -> KafkaSettings:
        """The settings in a `kafka://` address. InputError naming the option that is wrong."""
        parts = urlsplit(address)
        servers = tuple(_server(server, address) for server in parts.netloc.split(","))
        options = {name: _option(name, text) for name, text in parse_qsl(parts.query, keep_blank_values=True)}
        secrets: dict[str, Any] = {name: environment.get(f"FRESHET_KAFKA_{name.upper()}") for name in _SECRETS}
        return cls(servers=servers, **options, **secrets)

    def client_options(self) -> dict[str, Any]:
        """What every client of kafka-python takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "client_id": "freshet",
            "bootstrap_timeout_ms": round(1000 * self.connect_timeout_seconds),
            "request_timeout_ms": round(1000 * self.request_timeout_seconds),
            "reconnect_backoff_max_ms": 1000,
            "security_protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("SASL"):
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        if self.security_protocol.endswith("SSL"):
            options["ssl_context"] = self._tls_context()
        return options

    def _tls_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            context.check_hostname = self.check_hostname
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.key_file, self.key_password)
        except OSError as error:
            files = {"ca_file": self.ca_file, "certificate_file": self.certificate_file, "key_file": self.key_file}
            named = {name: path for name, path in files.items() if path is not None}
            raise InputError(
                f"cannot use the TLS files: {error.strerror or error}",
                field="log",
                value=named,
                remedy="name PEM files that exist and belong together",
            ) from error
        return context


_SECRETS = ("username", "password", "key_password")
_OPTIONS = {field.name: field.type for field in fields(KafkaSettings) if field.name not in ("servers", *_SECRETS)}


def _server(server: str, address: str) -> str:
    host, colon, port = server.rpartition(":")
    if "@" in server or not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise InputError(
            "is not HOST:PORT",
            field="log",
            value=address.rpartition("@")[2],
            remedy="write kafka://host:9092[,host:9092][?option=value]; user and password go in the environment",
        )
    return server


def _option(name: str, text: str) -> Any:
    kind = _OPTIONS.get(name)
    if kind is None:
        hint = "secrets go in the environment" if name in _SECRETS else f"use {', '.join(_OPTIONS)}"
        raise InputError("unknown option in the log's address", field=name, remedy=hint)
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.lower()]
        return _seconds(text) if kind == "float" else text
    except (KeyError, ValueError) as error:
        expected = "true or false" if kind == "bool" else "a number of seconds above 0"
        raise InputError(f"is not {expected}", field=name, value=text) from error


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:
        raise ValueError(text)
    return seconds


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError("is not supported", field=name, value=value, remedy=f"use one of {', '.join(choices)}")
