"""HTTP load with next to no cost of its own: prepared bytes over kept-alive sockets, one thread a client.

Every server is measured by this same client, so its cost is the same for all.
"""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
from itertools import cycle
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Target:
    """One request to repeat: where, and the bytes of the body; with `others` they follow each other, then anew."""

    url: str
    body: bytes
    content_type: str = "application/json"
    others: tuple[bytes, ...] = ()


def measure(target: Target, *, clients: int, requests: int, warm_up: int = 20) -> list[float]:
    """Sends `requests` requests from `clients` threads after a warm-up; the latency of each in ms.

    Raises RuntimeError where an answer is not 200.
    """
    latencies: list[list[float]] = [[] for _ in range(clients)]
    failures: list[str] = []
    barrier = threading.Barrier(clients)
    share = -(-requests // clients)

    def client(number: int) -> None:
        try:
            latencies[number] = _client(target, share, max(2, warm_up // clients), barrier, number, clients)
        except Exception as error:
            failures.append(repr(error))
            barrier.abort()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise RuntimeError(f"{target.url}: {failures[0]}")
    return [latency for each in latencies for latency in each]


def _client(
    target: Target, requests: int, warm_up: int, barrier: threading.Barrier, number: int, clients: int
) -> list[float]:
    """Latencies of the requests, in ms; the clients take turns with the bodies."""
    url = urlsplit(target.url)
    assert url.hostname is not None
    assert url.port is not None
    bodies = (target.body, *target.others)
    messages = cycle([_message(target, body) for body in bodies[number % len(bodies) :: clients]])
    with socket.create_connection((url.hostname, url.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(warm_up):
            _exchange(connection, next(messages))
        barrier.wait()
        latencies = []
        for _ in range(requests):
            message = next(messages)
            started = time.perf_counter()
            _exchange(connection, message)
            latencies.append(1000 * (time.perf_counter() - started))
        return latencies


def _message(target: Target, body: bytes) -> bytes:
    url = urlsplit(target.url)
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: {target.content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _exchange(connection: socket.socket, message: bytes) -> None:
    connection.sendall(message)
    data = b""
    while b"\r\n\r\n" not in data:
        data += _receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(data[:300].decode(errors="replace"))
    lowered = head.lower()
    at = lowered.index(b"content-length:")
    length = int(lowered[at + 15 :].split(b"\r\n", 1)[0])
    missing = length - len(body)
    while missing > 0:
        missing -= len(_receive(connection))


def _receive(connection: socket.socket) -> bytes:
    chunk = connection.recv(1 << 18)
    if not chunk:
        raise RuntimeError("the server closed the connection")
    return chunk


def quantile(values: list[float], q: float) -> float:
    """The q-quantile, by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
