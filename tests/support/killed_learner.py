"""A recommender's learner in processes of its own, killed as often as asked: `python -m tests.support.killed_learner`.

The modules are loaded once, then every life of the learner is a fork: it opens the log, resumes the newest checkpoint
and learns until its parent sends SIGKILL, or the stream's final mark is reached. It publishes where a store is named.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from llm_rec.live.learner import LiveLearner
from llm_rec.live.loop import LearnLoop, LearnProgress, LoopConfig
from llm_rec.model_folder import LearntModel, read_model
from streams.checkpoints.files import read_files
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.log.event_log import open_log
from streams.store.row_store import open_row_store
from streams.turns.source import SourceConfig
from tests.support.forked_life import live_once
from tests.support.killed_trainer import digest, half_written
from tests.support.live_recommender import CONFIG
from tests.support.published_recommender import BOUNDS, publishing

CHECKPOINT_STEPS = 3
MOST_STEPS_A_LIFE = 12
MOST_USERS = 40
LENIENT = replace(BOUNDS, warm_up_likes=10_000)
"""The drawn newcomers forget each other: popularity may foretell their likes as well as the model."""


def run(address: str, model: Path, folder: Path, *, kills: int, seed: int = 0, redis: str = "") -> dict[str, Any]:
    """Learns over the log to its end in another process with so many kills on the way; what `main` reports."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, address, str(model), str(folder), str(kills), str(seed)]
    done = subprocess.run(
        [*command, redis], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True, check=True
    )
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def learn(address: str, model: LearntModel, folder: Path, redis: str, steps: int) -> None:
    """One life: writes to the pipe `steps` after every turn."""
    log, store = open_log(address), CheckpointStore(folder)

    def tell(progress: LearnProgress) -> None:
        os.write(steps, b".")

    config = LoopConfig(
        source=SourceConfig(batch_size=CONFIG.batch_size),
        checkpoint=CheckpointConfig(every_steps=CHECKPOINT_STEPS, every_seconds=0), progress_seconds=0,
    )  # fmt: skip
    learns = LiveLearner(model, replace(CONFIG, most_users=MOST_USERS))
    loop = LearnLoop(log, learns, store, config, model="toy")
    loop.resume()
    if redis:
        rows = open_row_store(redis, model="recommender", password="")
        with publishing(learns, log, rows, bounds=LENIENT) as to:
            loop.publish_through(to.offering)
            loop.run(tell)
            to.publish()
    else:
        loop.run(tell)
    store.close()
    log.close()


def main() -> None:
    address, model, folder = sys.argv[1], read_model(Path(sys.argv[2])), Path(sys.argv[3])
    kills, seed, redis = *map(int, sys.argv[4:6]), sys.argv[6]
    rng, killed, cut_short = random.Random(seed), 0, 0
    life = partial(learn, address, model, folder, redis)

    def wait(child: int) -> None:
        time.sleep(rng.random() * 0.05)

    while killed < kills:
        killed += not live_once(life, rng.randrange(1, MOST_STEPS_A_LIFE), wait)
        cut_short += half_written(folder)
    live_once(life, None, wait)
    content = read_files(folder / CheckpointStore(folder).names()[-1])
    report = {"killed": killed, "cut_short": cut_short, "step": content.step, "digest": digest(content),
              "state": content.state}  # fmt: skip
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
