"""Exit codes, errors that name field, value and remedy, JSON on the last line, and help with examples."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshet.cli import all_commands, main
from streams.datasets.registry import schema_path
from streams.log.event_log import EVENTS, open_log
from tests.support.foreign_server import foreign_server
from tests.support.ports import free_port
from tests.support.stacks import freshet

SCHEMA = str(schema_path("simulator:small"))
COMMANDS = {command.name: command for command in all_commands()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder to work in; should a check fail and `up` start something, it is stopped again."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if (tmp_path / ".freshet" / "services.json").exists():
        main(["down"])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of the command in this process."""
    code = main([*arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["nosuch"], "COMMAND", "nosuch"),
        (["demo", "--events", "many"], "events", "many"),
        (["demo", "--events", "-5"], "events", "-5"),
        (["demo", "--clients", "0"], "clients", "0"),
        (["demo", "--rate", "nan"], "rate", "nan"),
        (["demo", "--data", "nosuch:x"], "data", "nosuch:x"),
        (["demo", "--data", "mind:/nowhere"], "data", "/nowhere"),
        (["demo", "--data", "jsonl:events.jsonl"], "data", "events.jsonl"),
        (["demo", "--recipe", "nosuch"], "recipe", "nosuch"),
        (["up", "--schema", "none.toml"], "schema", "none.toml"),
        (["up", "--schema", SCHEMA, "--recipe", "nosuch"], "recipe", "nosuch"),
        (["up", "--schema", SCHEMA, "--port", "99999"], "port", "99999"),
        (["up", "--schema", SCHEMA, "--log", "paper://roll"], "log", "paper://roll"),
        (["status", "--dir", "nowhere"], "dir", "nowhere"),
        (["down", "--dir", "nowhere"], "dir", "nowhere"),
        (["bench", "nosuch"], "name", "nosuch"),
        (["replay", "--data", "mind:/nowhere", "--log", "embedded:log"], "data", "/nowhere"),
        (["replay", "--data", "simulator:small", "--speed", "-1", "--log", "embedded:log"], "speed", "-1"),
        (["join", "--log", "paper://roll"], "log", "paper://roll"),
        (["join", "--log", "embedded:log", "--partitions", "first"], "partitions", "first"),
        (["train", "--schema", "none.toml", "--log", "embedded:log"], "schema", "none.toml"),
        (["train", "--schema", SCHEMA, "--log", "embedded:log", "--recipe", "nosuch"], "recipe", "nosuch"),
        (["recommend", "--user", "u", "--arm", "guess"], "arm", "guess"),
        (["score", "--file", "none.json", "--url", "http://127.0.0.1:1"], "file", "none.json"),
        (["model", "show", "last"], "number", "last"),
    ],
)
def test_wrong_input_exits_2_and_names_field_value_and_remedy(
    arguments: list[str], field: str, value: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert f"{field}: " in err
    assert value in err
    code, out, _ = run(capsys, *arguments, "--json")
    error = json.loads(out.splitlines()[-1])["error"]
    assert code == 2
    assert error["field"] == field
    assert value in error["message"]
    assert error["remedy"]


@pytest.mark.parametrize(
    "arguments", [[], ["demo", "--nosuch"], ["up"], ["train"], ["score"], ["recommend"], ["model"], ["replay"]]
)
def test_incomplete_or_unknown_arguments_exit_2_with_remedy(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "--help" in err


@pytest.mark.parametrize(
    "arguments", [["replay", "--data", "simulator:small"], ["join"], ["train", "--schema", SCHEMA]]
)
def test_command_without_log_exits_2_and_says_how_to_name_one(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "FRESHET_LOG" in err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples_that_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert "examples:" in shown
    assert COMMANDS[name].examples
    for example in COMMANDS[name].examples:
        assert example.startswith(f"freshet {name} ") or example == f"freshet {name}"
        assert example in shown


def test_port_that_is_taken_is_told_before_anything_starts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, err = run(capsys, "up", "--schema", SCHEMA, "--port", port, "--dir", str(tmp_path / "up"))
    assert code == 2
    assert "port: is taken" in err
    assert port in err
    assert not (tmp_path / "up").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["model", "list"],
        ["model", "show", "1"],
        ["model", "rollback", "1"],
        ["score", "--file", "{file}"],
        ["recommend", "--user", "u"],
        ["model", "list", "--model", "recommender"],
    ],
)
def test_gateway_that_is_away_exits_1_and_other_server_is_told_apart(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    request = tmp_path / "request.json"
    request.write_text("{}")
    given = [each.format(file=request) for each in arguments]
    code, out, _ = run(capsys, *given, "--url", f"http://127.0.0.1:{free_port()}", "--json")
    assert (code, json.loads(out)["error"]["field"]) == (1, "url")
    with foreign_server() as port:
        code, out, err = run(capsys, *given, "--url", f"http://127.0.0.1:{port}", "--json")
    assert code != 0
    assert json.loads(out)["error"]["field"] == "url"
    assert "no Freshet gateway" in err


def test_replay_prints_one_json_object_last_and_fills_the_log(tmp_path: Path) -> None:
    done = freshet("replay", "--data", "simulator:small", "--limit", 50, "--log", f"embedded:{tmp_path}", "--json")
    assert done.code == 0, done.stderr
    assert set(done.json) >= {"events", "bad_lines", "seconds"}
    log = open_log(f"embedded:{tmp_path}")
    ends = sum(log.end_offsets(log.partitions(EVENTS)).values())
    log.close()
    assert done.json["events"] + 2 == ends
