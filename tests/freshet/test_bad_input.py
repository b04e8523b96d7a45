"""What a user of the command is told about bad input, and the document that lists it."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path

import pytest

from freshet.cli import main
from streams.log.event_log import open_log
from tests.support.foreign_server import foreign_server

ROOT = Path(__file__).parent.parent.parent
GOOD = {"type": "impression", "event_time_ms": 1, "session_id": "s", "unit_id": "u", "ad_ids": ["a", "b"]}


@pytest.mark.parametrize(
    ("second", "field", "shown"),
    [
        ('{"type": "impression", "event_id": "i2", "event_ti', "event", "truncated"),
        (json.dumps({**GOOD, "event_id": "i2", "ad_ids": []}), "ad_ids", "shows no ad (got [])"),
        (json.dumps({**GOOD, "event_id": "i2", "positions": [1]}), "positions", "has 1 entries"),
        (json.dumps({**GOOD, "event_id": "i2", "event_time_ms": "x"}), "event_time_ms", "(got 'x')"),
    ],
)
def test_line_that_cannot_be_used_is_told_with_its_place_field_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], second: str, field: str, shown: str
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps({**GOOD, "event_id": "i1"}) + "\n" + second + "\n")
    address = f"embedded:{tmp_path / 'log'}"
    assert main(["replay", "--data", f"jsonl:{file}", "--log", address]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"freshet: {field}: {file}:2: ")
    assert shown in told
    assert "--max-bad-lines" in told
    assert main(["replay", "--data", f"jsonl:{file}", "--log", address, "--max-bad-lines", "1"]) == 0
    log = open_log(address)
    assert sum(log.end_offsets(log.partitions("events")).values()) == 3, "one impression, a final tick a partition"
    log.close()


def test_address_where_something_else_answers_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "request.json"
    file.write_text("{}")
    with foreign_server() as port:
        assert main(["score", "--file", str(file), "--url", f"http://127.0.0.1:{port}"]) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "url: what answers there is no Freshet gateway: HTTP 501" in told
    assert "freshet status" in told


@pytest.mark.parametrize(
    "url", ["nosuch", "ftp://host", "http://", "http://host:port", "http://host:99999", "http://[x"]
)
def test_what_is_no_address_of_a_gateway_is_told(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "--user", "u1", "--url", url, "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert (told["field"], told["remedy"]) == ("url", "give http://HOST:PORT")
    assert url in told["message"]


def test_address_where_no_http_is_spoken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_answer_once, args=(server,))
        thread.start()
        assert main(["recommend", "--user", "u1", "--url", f"http://127.0.0.1:{server.getsockname()[1]}"]) == 1
        thread.join()
    assert "url: no answer from the gateway" in capsys.readouterr().err


def _answer_once(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"-ERR wrong number of arguments for 'get' command\r\n")


def test_every_test_that_the_document_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "errors.md").read_text())
    assert len(named) > 20
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text() if test else (ROOT / path).exists(), (path, test)
