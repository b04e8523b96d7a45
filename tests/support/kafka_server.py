"""A real Apache Kafka 4 broker in KRaft mode on free loopback ports, from jars that Maven resolves."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from streams.child_process import dying_with_parent
from tests.support.ports import free_ports

_POM = Path(__file__).parent / "kafka" / "pom.xml"
_CACHE = Path(__file__).parents[2] / ".cache" / "kafka-jars"
_START_TIMEOUT_SECONDS = 120
_STOP_TIMEOUT_SECONDS = 20

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.enable=false
{extra}
"""


@dataclass
class KafkaServer:
    """One broker process; `address` is what open_log takes.

    `extra_properties` override those above; `format_options` are more arguments of the storage
    formatter, such as SCRAM users.
    """

    folder: Path
    port: int
    controller_port: int
    classpath: str
    extra_properties: str = ""
    format_options: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"kafka://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the broker on its folder (formatted on the first start) and waits until its port answers."""
        settings = self.folder / "server.properties"
        if not settings.exists():
            values = {"broker": self.port, "controller": self.controller_port, "folder": self.folder}
            settings.write_text(_PROPERTIES.format(extra=self.extra_properties, **values))
            # An id that begins with a dash, as one in 64 would, is an option to the formatter.
            cluster_id = "A" + urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")[1:]
            format_arguments = ["format", "-t", cluster_id, "-c", str(settings), *self.format_options]
            subprocess.run(self._java("kafka.tools.StorageTool", *format_arguments), check=True, capture_output=True)
        with (self.folder / "broker.log").open("ab") as output:
            command = dying_with_parent(self._java("kafka.Kafka", str(settings)), signal.SIGKILL)
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        self._wait_until_up()

    def kill(self) -> None:
        """kill -9; the folder stays, so that `start` recovers from it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Asks the broker to end, and kills it where it does not."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def log(self) -> str:
        """The end of what the broker printed."""
        return (self.folder / "broker.log").read_text(errors="replace")[-4000:]

    def _java(self, main: str, *arguments: str) -> list[str]:
        log_level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        return ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", log_level, "-cp", self.classpath, main, *arguments]

    def _wait_until_up(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"Kafka ended with {self.process.returncode}:\n{self.log()}")
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.1)
        self.kill()
        raise RuntimeError(f"Kafka did not start in {_START_TIMEOUT_SECONDS} s:\n{self.log()}")


def new_server(folder: Path) -> KafkaServer:
    """A broker that is not started yet. Skips the test where Java or Maven is missing; fails it under CI=true."""
    classpath = f"{resolve_jars()}/*"
    broker, controller = free_ports(2)
    return KafkaServer(folder, broker, controller, classpath)


def resolve_jars() -> Path:
    """The folder with Kafka's jars, resolved on the first call."""
    _require("java")
    stamp = _CACHE / "resolved-pom.xml"
    if stamp.exists() and stamp.read_text() == _POM.read_text():
        return _CACHE
    _require("mvn")
    shutil.rmtree(_CACHE, ignore_errors=True)
    _CACHE.mkdir(parents=True)
    command = ["mvn", "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={_CACHE}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        _unable(f"Maven could not resolve Kafka: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    stamp.write_text(_POM.read_text())
    return _CACHE


def _require(program: str) -> None:
    if shutil.which(program) is None:
        _unable(f"{program} is missing; install a Java 17 runtime and Maven (openjdk-17-jre-headless, maven)")


def _unable(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"KAFKA TESTS CANNOT RUN: {reason}")
    pytest.skip(f"KAFKA TESTS SKIPPED: {reason}")
