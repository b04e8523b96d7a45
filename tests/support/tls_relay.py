"""TLS in front of a server that speaks none, as a terminating proxy would; its certificates made by openssl."""

from __future__ import annotations

import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1, its own authority, valid for two days."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key),
         "-out", str(certificate), "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@contextmanager
def tls_relay(port: int, certificate: Path, key: Path) -> Iterator[int]:
    """The port on which TLS is taken off and the bytes are passed to the loopback `port` and back."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=_accept, args=(listening, context, port), daemon=True).start()
        yield listening.getsockname()[1]
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_relay, args=(connection, context, port), daemon=True).start()


def _relay(connection: socket.socket, context: ssl.SSLContext, port: int) -> None:
    """One thread a connection, for TLS sockets are not for two at once: it passes on whatever comes, until one ends."""
    with (
        suppress(OSError),
        closing(connection),
        context.wrap_socket(connection, server_side=True) as secure,
        closing(socket.create_connection(("127.0.0.1", port))) as plain,
    ):
        while True:
            # What TLS has taken off the wire already, the kernel knows nothing of.
            ready = [secure] if secure.pending() else select.select([secure, plain], [], [])[0]
            for source, target in ((secure, plain), (plain, secure)):
                if source in ready:
                    passed = source.recv(1 << 16)
                    if not passed:
                        return
                    target.sendall(passed)
