"""Peers from the command line: beside each other on the same examples, with the keys that every recipe has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freshet.cli import main

REPO_SCHEMAS = Path(__file__).parents[3] / "streams" / "schemas"


def test_two_peers_are_compared_on_the_same_examples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([
        "evaluate", "--data", "simulator:small", "--limit", "150", "--json",
        "--recipe", "vw-coin", "--recipe", "vw-ftrl-counters", "--out", str(tmp_path),
    ])  # fmt: skip
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0
    assert set(result["recipes"]) == {"vw-coin", "vw-ftrl-counters"}
    keys = {"auc", "log_loss", "normalized_entropy", "calibration", "examples", "examples_per_second", "per_period"}
    for scores in result["recipes"].values():
        assert keys <= set(scores)
    assert len({scores["examples"] for scores in result["recipes"].values()}) == 1
    assert [(pair["a"], pair["b"]) for pair in result["paired"]] == [("vw-coin", "vw-ftrl-counters")]
    report = (tmp_path / "report.md").read_text()
    assert '"quadratic": true' in report


def test_training_a_peer_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = str(REPO_SCHEMAS / "simulator.toml")
    code = main(["train", "--recipe", "lightgbm", "--schema", schema, "--log", f"embedded:{tmp_path}"])
    assert code == 2
    assert "use it with freshet evaluate" in capsys.readouterr().err
