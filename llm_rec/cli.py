"""`freshet recommender train` and `freshet recommender learn`. What is heavy is imported when a command runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from llm_rec.live.config import LEARNING, LearnConfig
from streams.cli import add_log, add_metrics_page
from streams.command import Command, Result
from streams.contract.settings import settings_from
from streams.log.event_log import EXAMPLES

_USUAL = LearnConfig()


def _configure_train(parser: ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="FORMAT:DIR", help="movielens:DIR or amazon:DIR")
    parser.add_argument("--recipe", default="cllm4rec-small", help="what is fitted and how (cllm4rec-small); "
                        "docs/cllm4rec.md has them all, and so has the error of an unknown one")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model's folder; goes on if killed")
    parser.add_argument("--seed", type=int, default=0, help="what the first weights and the order are drawn from (0)")
    parser.add_argument("--threads", type=int, default=1, help="more than 1 only where nothing else runs")
    parser.add_argument("--least-likes", type=int, default=1, metavar="K",
                        help="leave out users and items with fewer (1)")  # fmt: skip
    parser.add_argument("--max-bad-lines", type=int, default=0, metavar="N", help="malformed lines to skip (0)")
    parser.add_argument("--split", choices=("all", "time"), default="all",
                        help="learn from everything (all), or from the file's train part alone")  # fmt: skip
    parser.add_argument("--half-life-days", type=float, default=90.0, metavar="D",
                        help="after how long a like counts half for what is popular (90)")  # fmt: skip


def _train(args: Namespace) -> Result:
    from llm_rec.train_run import train

    return train(args)


def _render_train(result: Result) -> str:
    found = result["validation"]
    return (
        f"{result['likes']} likes of {result['users']} users and {result['items']} items in "
        f"{result['seconds']:.0f} s; validation Recall@20 {found['recall_at_20']:.4f}, "
        f"NDCG@100 {found['ndcg_at_100']:.4f} over {found['users']:.0f} users; model in {result['out']}"
    )


def _configure_rows(parser: ArgumentParser) -> None:
    parser.add_argument("--from", dest="folder", type=Path, required=True, metavar="DIR",
                        help="what `freshet recommender train` wrote")  # fmt: skip
    parser.add_argument("--schema", type=Path, required=True, help="the CTR model's feature schema (TOML)")
    parser.add_argument("--item-feature", default=None, metavar="NAME", help="the feature that holds an item's name")
    parser.add_argument("--user-feature", default=None, metavar="NAME", help="the feature that holds a user's name")
    parser.add_argument(
        "--deviation", type=float, default=0.05, metavar="S", help="root mean square of the entries (0.05)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for `freshet train --starting-rows`")


def _rows(args: Namespace) -> Result:
    from llm_rec.starting_rows import export

    return export(args)


def _render_rows(result: Result) -> str:
    rows = ", ".join(f"{count} of table {table}" for table, count in result["rows"].items())
    return f"{rows} in {result['out']}"


def _configure_learn(parser: ArgumentParser) -> None:
    add_log(parser)
    parser.add_argument("--from", dest="folder", type=Path, required=True, metavar="DIR", help="what `train` wrote")
    parser.add_argument("--examples", default=EXAMPLES, metavar="TOPIC", help=f"where the examples stand ({EXAMPLES})")
    parser.add_argument("--kind", default="click", help="the feedback that is a like (click)")
    parser.add_argument("--redis", default=settings_from().redis, help="where versions are published (empty: nowhere)")
    parser.add_argument("--checkpoints", type=Path, default=Path(".freshet/recommender-checkpoints"), metavar="DIR",
                        help="where it is saved (.freshet/recommender-checkpoints)")  # fmt: skip
    parser.add_argument("--checkpoint-seconds", type=float, default=30.0, metavar="S",
                        help="between two checkpoints (30; 0: none by time)")  # fmt: skip
    parser.add_argument(
        "--checkpoint-steps", type=int, default=0, metavar="N", help="turns between two checkpoints (0: none by turns)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the newest valid checkpoint")
    parser.add_argument("--publish-seconds", type=float, default=1.0, metavar="S", help="between two versions (1)")
    parser.add_argument("--tombstone-seconds", type=float, default=600.0, metavar="S",
                        help="evicted rows stay marked in Redis (600)")  # fmt: skip
    parser.add_argument("--new-generation", action="store_true", help="do not continue the newest generation")
    parser.add_argument("--promote", action="store_true", help="make a new generation live with its first version")
    parser.add_argument("--learning", choices=LEARNING, default=_USUAL.learning,
                        help="rows, histories and counts (all, the usual one); all but rows; or only look")  # fmt: skip
    parser.add_argument("--rate", type=float, default=_USUAL.rate, help=f"of row-wise Adagrad ({_USUAL.rate:g})")
    parser.add_argument(
        "--most-users",
        type=int,
        default=_USUAL.most_users,
        metavar="N",
        help=f"with rows; then the idlest go ({_USUAL.most_users})",
    )
    parser.add_argument(
        "--most-items",
        type=int,
        default=_USUAL.most_items,
        metavar="N",
        help=f"further ones are left out ({_USUAL.most_items})",
    )
    parser.add_argument(
        "--window", type=int, default=_USUAL.window, metavar="N", help=f"likes of the newest window ({_USUAL.window})"
    )
    parser.add_argument("--text-column", action="append", metavar="NAME",
                        help="a candidate column that describes a new item; repeat it (default: all)")  # fmt: skip
    parser.add_argument("--until-final", action="store_true", help="end with the stream (it ends there in any case)")
    parser.add_argument("--until-end", action="store_true", help="end at the present end of the log")
    parser.add_argument("--ready", type=Path, default=None, help="make this file when learning begins")
    parser.add_argument("--summary", type=Path, default=None, help="write the account here as JSON, too")
    add_metrics_page(parser)


def _learn(args: Namespace) -> Result:
    from llm_rec.live.run import learn

    return learn(args)


def _render_learn(result: Result) -> str:
    return (
        f"{result['likes_learnt']} likes in {result['examples_read']} examples, {result['likes_per_second']:.0f}/s; "
        f"NDCG@100 {result['ndcg_at_100']:.4f}, Recall@20 {result['recall_at_20']:.4f}, "
        f"log loss {result['log_loss']:.4f} (popularity {result['base_log_loss']:.4f}); "
        f"{result['new_users']} new users, {result['new_items']} new items; "
        f"{result['versions_published']} versions; checkpoint {result['checkpoint']}"
    )


COMMANDS = [
    Command(name="recommender train", help="Fits the language-model recommender on a data set of likes.",
            examples=("freshet recommender train --data movielens:DIR --out .freshet/recommender",
                      "freshet recommender train --data movielens:DIR --split time --out DIR --json"),
            configure=_configure_train, run=_train, render=_render_train),
    Command(name="recommender rows", help="Writes a recommender's embeddings as first rows of the CTR model.",
            examples=("freshet recommender rows --from DIR --schema streams/schemas/movielens.toml "
                      "--item-feature movie_id --out rows.safetensors",),
            configure=_configure_rows, run=_rows, render=_render_rows),
    Command(name="recommender learn", help="Runs the recommender's continual learner, until its stream ends.",
            examples=("freshet recommender learn --from DIR --log embedded:.freshet/log --redis redis://HOST:6379",
                      "freshet recommender learn --from DIR --checkpoints DIR2 --resume --until-end --json"),
            configure=_configure_learn, run=_learn, render=_render_learn),
]  # fmt: skip
