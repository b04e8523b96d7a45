"""The documents keep up with the code, and the code keeps its measures."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from freshet.cli import all_commands, build_parser
from streams.contract.telemetry import METRICS
from tests.support.stacks import ROOT

PACKAGES = ("streams", "trainer", "serving", "llm_rec", "freshet", "bench")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_LINES_A_FILE = 500
MOST_LINES_A_FUNCTION = 60
DOCS = {path.name: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}


def test_readme_names_the_two_commands() -> None:
    assert "make demo" in DOCS["README.md"]
    assert "make test" in DOCS["README.md"]


def test_every_document_is_reached_from_the_readme() -> None:
    linked = set(re.findall(r"\(docs/([\w-]+\.md)\)", DOCS["README.md"]))
    assert linked == set(DOCS) - {"README.md"}


def test_links_between_documents_lead_somewhere() -> None:
    for name, text in DOCS.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (folder / target).exists(), f"{name} links to {target}"


def test_every_command_has_a_section_with_all_its_options() -> None:
    sections = _sections(DOCS["cli.md"])
    parsers = _parsers()
    assert set(sections) == {f"`freshet {name}`" for name in parsers}
    for name, parser in parsers.items():
        told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", sections[f"`freshet {name}`"]))
        assert told == _options(parser) - {"--help", "--json"}, f"options of {name} in docs/cli.md"


def test_commands_are_told_in_the_order_of_the_help() -> None:
    assert list(_sections(DOCS["cli.md"])) == [f"`freshet {command.name}`" for command in all_commands()]


def test_every_metric_is_told_with_kind_labels_and_help() -> None:
    rows = {row[0]: row[1:] for row in _table(DOCS["metrics.md"])}
    assert rows == {
        f"`{metric.name}`": (metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
        for metric in METRICS
    }


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_module_and_its_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES_A_FILE
    long = {name: lines for name, lines in _functions(text) if lines > MOST_LINES_A_FUNCTION}
    assert not long


def test_check_of_lengths_finds_a_long_function() -> None:
    text = "class A:\n    async def long(self):\n" + "        pass\n" * MOST_LINES_A_FUNCTION
    assert list(_functions(text)) == [("long", MOST_LINES_A_FUNCTION + 1)]
    assert len(MODULES) > 100


def _functions(text: str) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function, decorators left out."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def _sections(text: str) -> dict[str, str]:
    """Heading of the second level -> what stands below it."""
    pieces = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def _table(text: str) -> Iterator[tuple[str, ...]]:
    """The rows of all tables, without heads."""
    for line in text.splitlines():
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        if line.startswith("| `"):
            yield cells


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """Command -> its parser; a command of a group under both words."""
    found: dict[str, argparse.ArgumentParser] = {}
    for name, parser in _commands_of(build_parser()).items():
        inner = _commands_of(parser)
        found |= {f"{name} {each}": of for each, of in inner.items()} or {name: parser}
    return found


def _commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    choices = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(choices[0]) if choices else {}


def _options(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
