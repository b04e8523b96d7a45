"""`freshet recommender train` and `freshet recommender learn`. What is heavy is imported when a command runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from streams.command import Command, Result


def _configure_train(parser: ArgumentParser) -> None:
    parser.add_argument("--data", required=True, metavar="FORMAT:DIR", help="movielens:DIR or amazon:DIR")
    parser.add_argument("--recipe", default="cllm4rec-small", help="a name of llm_rec/cllm4rec_recipes.py")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the model's folder; goes on if killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least-likes", type=int, default=1, metavar="K",
                        help="leave out users and items with fewer")  # fmt: skip
    parser.add_argument("--split", choices=("all", "time"), default="all",
                        help="learn from everything, or from the file's train part alone")  # fmt: skip
    parser.add_argument("--half-life-days", type=float, default=30.0, metavar="D",
                        help="after how long a like counts half for what is popular")  # fmt: skip


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
    parser.add_argument("--deviation", type=float, default=0.05, metavar="S", help="root mean square of the entries")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="for `freshet train --starting-rows`")


def _rows(args: Namespace) -> Result:
    from llm_rec.starting_rows import export

    return export(args)


def _render_rows(result: Result) -> str:
    rows = ", ".join(f"{count} of table {table}" for table, count in result["rows"].items())
    return f"{rows} in {result['out']}"


COMMANDS = [
    Command(name="recommender train", help="Fits the language-model recommender on a data set of likes.",
            examples=("freshet recommender train --data movielens:DIR --out .freshet/recommender",
                      "freshet recommender train --data movielens:DIR --split time --out DIR --json"),
            configure=_configure_train, run=_train, render=_render_train),
    Command(name="recommender rows", help="Writes a recommender's embeddings as first rows of the CTR model.",
            examples=("freshet recommender rows --from DIR --schema streams/schemas/movielens.toml "
                      "--item-feature movie_id --out rows.safetensors",),
            configure=_configure_rows, run=_rows, render=_render_rows),
]  # fmt: skip
