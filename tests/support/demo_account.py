"""What every account of `freshet demo` must say, whatever it ran on."""

from __future__ import annotations

from math import isfinite

from tests.support.stacks import Done

KEYS = {
    "events", "impressions_joined", "examples_trained", "versions_published", "versions_refused", "requests_scored",
    "request_errors", "torn_scores", "scores_audited", "lost_examples", "duplicate_examples", "normalized_entropy",
    "auc", "calibration", "base_rate_log_loss", "freshness_seconds", "score_latency_ms", "examples_per_second",
}  # fmt: skip
"""Keys that others depend on."""

PROCESSES = 5
"""The command itself, gateway, joiner, trainer, and at least one server."""


def check_account(done: Done, *, num_events: int) -> None:
    """Asserts success, every key, no loss, no duplicate, no torn score among enough audited ones, no survivor."""
    assert done.code == 0, done.stderr[-4000:]
    account = done.json
    assert set(account) >= KEYS
    wrong = {name: account[name] for name in ("request_errors", "torn_scores", "lost_examples", "duplicate_examples")}
    assert wrong == dict.fromkeys(wrong, 0), (account, done.stderr[-4000:])
    assert account["events"] == num_events
    assert account["requests_scored"] == account["impressions_joined"] > 0
    assert account["examples_trained"] > account["requests_scored"]
    assert account["versions_published"] >= 3
    assert account["scores_audited"] > 50
    for name in ("freshness_seconds", "score_latency_ms"):
        assert 0 < account[name]["p50"] <= account[name]["p99"]
    assert all(isfinite(account[name]) for name in ("normalized_entropy", "auc", "calibration", "base_rate_log_loss"))
    assert done.num_processes >= PROCESSES
    assert done.survivors == []
