"""A real Kafka broker behind TLS and SCRAM: its own certificate, one user."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.kafka_server import KafkaServer, new_server
from tests.support.ports import free_port

USERNAME = "freshet"
PASSWORD = "not-a-secret"  # of a broker that lives for one test
_STORE_PASSWORD = "changeit"

_PROPERTIES = """
listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PKCS12
ssl.keystore.location={keystore}
ssl.keystore.password={password}
"""


@dataclass
class SecureKafkaServer:
    """`address` names the secured listener and the file that vouches for it; the user comes from the environment."""

    server: KafkaServer
    port: int
    ca_file: Path

    @property
    def address(self) -> str:
        return f"kafka://127.0.0.1:{self.port}?security_protocol=SASL_SSL&connect_timeout_seconds=60&ca_file={self.ca_file}"


def new_secure_server(folder: Path) -> SecureKafkaServer:
    """A broker that is not started yet."""
    server, port = new_server(folder), free_port()
    keystore, ca_file = folder / "broker.p12", folder / "ca.pem"
    _make_certificate(keystore, ca_file)
    server.extra_properties = _PROPERTIES.format(
        plain=server.port,
        secure=port,
        controller=server.controller_port,
        keystore=keystore,
        password=_STORE_PASSWORD,
    )
    server.format_options = ["--add-scram", f"SCRAM-SHA-512=[name={USERNAME},password={PASSWORD}]"]
    return SecureKafkaServer(server, port, ca_file)


def _make_certificate(keystore: Path, ca_file: Path) -> None:
    common = ["-alias", "broker", "-keystore", str(keystore), "-storetype", "PKCS12", "-storepass", _STORE_PASSWORD]
    name = ["-keyalg", "RSA", "-dname", "CN=127.0.0.1", "-ext", "SAN=ip:127.0.0.1", "-ext", "bc=ca:true"]
    subprocess.run(["keytool", "-genkeypair", *common, *name, "-validity", "2"], check=True, capture_output=True)
    export = ["keytool", "-exportcert", "-rfc", *common, "-file", str(ca_file)]
    subprocess.run(export, check=True, capture_output=True)
