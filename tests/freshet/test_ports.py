"""Ports for servers: free, all different, and none that an outgoing connection could be given."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from freshet import ports
from freshet.ports import free_ports


def first_of_outgoing() -> int:
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_ports_differ_and_can_be_listened_on() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel keeps them apart in another way")
def test_ports_are_none_of_those_that_outgoing_connections_are_given() -> None:
    assert max(free_ports(50)) < first_of_outgoing()


@pytest.mark.parametrize("told", [None, "", "1024 65535"])
def test_where_the_kernel_does_not_say_or_keeps_none_apart_ports_are_found_all_the_same(
    told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "_RANGE_FILE", tmp_path / "range")
    if told is not None:
        (tmp_path / "range").write_text(told)
    assert len(set(free_ports(5))) == 5
