"""`freshet recommend`: one recommendation from a running gateway."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from serving.gateway_call import add_url, call, gateway_url
from streams.command import Command, Result, table

_ARMS = ("generative", "ctr", "blend")


def _configure(parser: ArgumentParser) -> None:
    add_url(parser)
    parser.add_argument("--user", required=True, metavar="U", help="the unit's id, as in its events")
    parser.add_argument("-k", type=int, default=10, metavar="K", help="how many items (10)")
    parser.add_argument("--history", default=None, metavar="A,B",
                        help="items liked, oldest first, in place of what the stream tells of the unit")  # fmt: skip
    parser.add_argument("--exclude", default="", metavar="A,B", help="items that are not wanted")
    parser.add_argument("--arm", choices=_ARMS, default=_ARMS[0], help="who recommends")
    parser.add_argument("--also", choices=_ARMS, default=None, help="a second arm, answered beside the first")
    parser.add_argument("--no-log", action="store_true", help="do not log the answer as an impression")


def _run(args: Namespace) -> Result:
    body: dict[str, Any] = {"unit_id": args.user, "k": args.k, "arm": args.arm, "exclude": _names(args.exclude)}
    if args.history is not None:
        body["history"] = _names(args.history)
    if args.also is not None:
        body["also"] = args.also
    if args.no_log:
        body["log"] = False
    answer: Result = call(f"{gateway_url(args)}/v1/recommend", json.dumps(body).encode())
    return answer


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _render(answer: Result) -> str:
    parts = [_render_arm(answer), *([_render_arm(answer["also"])] if answer["also"] else [])]
    return "\n\n".join(parts)


def _render_arm(answer: Result) -> str:
    rows = [("rank", "item", "score")]
    rows += [(str(rank), item["item_id"], f"{item['score']:.4f}") for rank, item in enumerate(answer["items"], 1)]
    fresh = answer["freshness_seconds"]
    made = f"arm {answer['arm']}, answered by {answer['answered_by']}, version {answer['version']} of generation " \
           f"{answer['generation']}"  # fmt: skip
    if answer["answered_by"] == "blend":
        made += f" on the recommender's version {answer['recommender_version']}"
    age = f", {fresh:.1f} s behind the newest event learnt" if fresh is not None else ""
    return f"{table(rows)}\n{made}{age}; flags: {', '.join(answer['flags']) or 'none'}"


RECOMMEND = Command(
    name="recommend", help="Asks for the best items for one user.",
    examples=("freshet recommend --user u42 -k 10", "freshet recommend --user u42 -k 5 --history a1,a7 --arm blend",
              "freshet recommend --user u42 --also ctr --url http://HOST:PORT"),
    configure=_configure, run=_run, render=_render,
)  # fmt: skip
