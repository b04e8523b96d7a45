"""API keys: who passes, who does not, and that the file gives no key away."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.gateway.auth import Gate, is_loopback
from serving.gateway.http_errors import ForbiddenError, UnauthorisedError
from serving.gateway.keys import new_key, save_keys
from streams.contract.errors import InputError


def bearer(key: str) -> dict[bytes, bytes]:
    """The header of a key."""
    return {b"authorization": f"Bearer {key}".encode(), b"host": b"gateway.example"}


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("[::1]", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("example.org", False), ("", False)],
)  # fmt: skip
def test_address_is_told_loopback_or_not(host: str, local: bool) -> None:
    assert is_loopback(host) is local


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_address_open_to_others_without_keys_is_refused(host: str) -> None:
    with pytest.raises(InputError, match="no API keys"):
        Gate.for_address(host, None)


def test_loopback_asks_for_no_key() -> None:
    gate = Gate.for_address("127.0.0.1", None)
    gate.check({b"host": b"127.0.0.1:8080"}, "admin")
    gate.check({b"host": b"localhost:8080", b"origin": b"http://localhost:8080"}, "admin")


def test_key_passes_with_its_role_only(tmp_path: Path) -> None:
    score, kept = new_key(["score"])
    save_keys(tmp_path / "keys.json", [kept])
    gate = Gate.for_address("0.0.0.0", tmp_path / "keys.json")
    gate.check(bearer(score), "score")
    gate.check(bearer(score), None)
    for role in ("ingest", "admin"):
        with pytest.raises(ForbiddenError, match=role):
            gate.check(bearer(score), role)


def test_admin_key_passes_everywhere() -> None:
    key, kept = new_key(["admin"])
    gate = Gate([kept], loopback=False)
    for role in ("score", "ingest", "admin", None):
        gate.check(bearer(key), role)


def test_keys_given_are_asked_for_on_loopback_too() -> None:
    _, kept = new_key(["admin"])
    with pytest.raises(UnauthorisedError):
        Gate([kept], loopback=True).check({b"host": b"127.0.0.1"}, "score")


def test_wrong_key_is_refused() -> None:
    key, kept = new_key(["admin"])
    other, _ = new_key(["admin"])
    gate = Gate([kept], loopback=False)
    wrong = [key[:-1], key + "x", other, key.upper(), "", "fk_", f"fk_{kept.id}_{kept.sha256}", f"fk_{kept.id}_"]
    for text in wrong:
        with pytest.raises(UnauthorisedError):
            gate.check(bearer(text), None)
    for headers in ({}, {b"authorization": key.encode()}, {b"authorization": b"Basic " + key.encode()}):
        with pytest.raises(UnauthorisedError):
            gate.check(headers, None)


def test_key_file_is_followed_until_nobody_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.gateway.keys._LOOK_SECONDS", 0.0)
    path = tmp_path / "keys.json"
    first, kept_first = new_key(["score"])
    second, kept_second = new_key(["score"])
    save_keys(path, [kept_first])
    gate = Gate.for_address("127.0.0.1", path)
    gate.check(bearer(first), "score")
    save_keys(path, [kept_second])
    gate.check(bearer(second), "score")
    with pytest.raises(UnauthorisedError):
        gate.check(bearer(first), "score")
    save_keys(path, [])
    for headers in (bearer(second), {b"host": b"127.0.0.1"}):
        with pytest.raises(UnauthorisedError):
            gate.check(headers, "score")


def test_damaged_or_missing_key_file_leaves_the_keys_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.gateway.keys._LOOK_SECONDS", 0.0)
    path = tmp_path / "keys.json"
    key, kept = new_key(["score"])
    save_keys(path, [kept])
    gate = Gate.for_address("127.0.0.1", path)
    path.write_text('{"keys": [')
    gate.check(bearer(key), "score")
    path.unlink()
    gate.check(bearer(key), "score")
    save_keys(path, [])
    with pytest.raises(UnauthorisedError):
        gate.check(bearer(key), "score")


@pytest.mark.parametrize(
    "headers",
    [{b"host": b"rebound.example:8080"},
     {b"host": b"127.0.0.1:8080", b"origin": b"http://evil.example"},
     {b"host": b"127.0.0.1:8080", b"origin": b"null"},
     {b"host": b"127.0.0.1:8080", b"origin": b"http://127.0.0.1:9999"}],
)  # fmt: skip
def test_page_of_another_site_does_not_reach_through_the_browser(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(ForbiddenError):
        Gate([], loopback=True).check(headers, "admin")
