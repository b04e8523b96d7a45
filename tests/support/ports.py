"""Free ports on the loopback interface."""

from __future__ import annotations

from freshet.ports import free_ports

__all__ = ["free_port", "free_ports"]


def free_port() -> int:
    """A port nobody listened on a moment ago."""
    return free_ports(1)[0]
