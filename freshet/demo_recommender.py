"""The recommender's part of the demo's account: what its learner tells at its end, and what is recommended now."""

from __future__ import annotations

import json
from typing import Any

from freshet.processes import Child
from freshet.stack import Stack
from serving.gateway_call import call
from streams.contract.recommend_wire import RECOMMENDER

_TOLD = ("likes_learnt", "likes_per_second", "users", "items", "new_users", "new_items", "ndcg_at_100", "recall_at_20",
         "log_loss", "base_log_loss", "versions_published", "versions_refused")  # fmt: skip
_ITEMS = 5


def learner_of(stack: Stack) -> Child | None:
    """The recommender's learner, where the stack has one."""
    return stack.child(RECOMMENDER) if stack.config.recommender is not None else None


def recommender_account(stack: Stack, learnt: dict[str, Any]) -> dict[str, Any]:
    """The learner's figures and one recommendation for somebody whom nobody knows, which is not logged.

    Raises FreshetError where the gateway does not answer.
    """
    body = {"unit_id": "nobody", "k": _ITEMS, "history": [], "log": False}
    answer = call(f"{stack.gateway_url}/v1/recommend", json.dumps(body).encode())
    told = ("items", "answered_by", "version", "generation", "flags")
    return {**{name: learnt[name] for name in _TOLD}, "recommended": {name: answer[name] for name in told}}


def render_recommender(account: dict[str, Any]) -> str:
    """The account as a person reads it."""
    given = account["recommended"]
    items = ", ".join(item["item_id"] for item in given["items"]) or "nothing"
    return (
        f"  recommender {account['likes_learnt']} likes learnt at {account['likes_per_second']:.0f}/s, "
        f"{account['new_users']} new users, {account['new_items']} new items; NDCG@100 {account['ndcg_at_100']:.4f}, "
        f"log loss {account['log_loss']:.4f} (popularity {account['base_log_loss']:.4f}); "
        f"{account['versions_published']} versions published, {account['versions_refused']} refused; "
        f"to somebody unknown it recommends {items} ({given['answered_by']}, version {given['version']})"
    )
