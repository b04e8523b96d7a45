"""A trainer in processes of its own, killed as often as asked: `python -m tests.support.killed_trainer …`.

The modules are loaded once, then every life of the trainer is a fork: it opens the log, resumes
the newest checkpoint and trains until its parent sends SIGKILL, or the stream's final marks are
reached. The kill comes at any moment, or only while a checkpoint is being written.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from streams.checkpoints.files import Content, read_files
from streams.checkpoints.store import CheckpointConfig, CheckpointStore
from streams.log.event_log import open_log
from streams.turns.source import SourceConfig
from tests.support.forked_life import live_once
from tests.support.killed_cases import LEARNERS, ROUNDS
from trainer.loop import Trainer, TrainerConfig, TrainProgress

CHECKPOINT_STEPS = 7
MOST_STEPS_A_LIFE = 30
WHILE_WRITING = "while a checkpoint is written"


def run(
    address: str, topic: str, folder: Path, *, kills: int, case: str = "plain", seed: int = 0, when: str = "any moment"
) -> dict[str, Any]:
    """Trains over the log to its end in another process with so many kills on the way; what `main` reports."""
    arguments = [address, topic, str(folder), case, str(kills), str(seed), when]
    command = [sys.executable, "-W", "ignore", "-m", __name__, *arguments]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def digest(content: Content) -> dict[str, str]:
    """A checksum of each part of a checkpoint: weights, optimizers, id maps, scores, random state, positions."""
    digests = {}
    for part, tensors in content.tensors.items():
        sums = [f"{name} {array.dtype} {array.shape} {xxhash.xxh3_128_hexdigest(array.tobytes())}"
                for name, array in sorted(tensors.items())]  # fmt: skip
        digests[part] = xxhash.xxh3_128_hexdigest("\n".join(sums).encode())
    digests["state"] = xxhash.xxh3_128_hexdigest(json.dumps(content.state, sort_keys=True).encode())
    return digests


def rounds_on_disk(folder: Path) -> dict[str, str]:
    """A checksum of each round that a window has beside the checkpoints; empty without a window."""
    paths = sorted((folder / ROUNDS).glob("*"))
    return {path.name: xxhash.xxh3_128_hexdigest(path.read_bytes()) for path in paths}


def train(address: str, topic: str, folder: Path, case: str, steps: int) -> None:
    """One life: writes a line to the pipe `steps` after every batch."""
    log = open_log(address)
    store = CheckpointStore(folder)

    def tell(progress: TrainProgress) -> None:
        os.write(steps, b".")

    config = TrainerConfig(
        source=SourceConfig(topic=topic),
        checkpoint=CheckpointConfig(every_steps=CHECKPOINT_STEPS, every_seconds=0),
        progress_seconds=0,
    )
    trainer = Trainer(log, LEARNERS[case](folder), store, config, on_progress=tell)
    trainer.resume()
    trainer.run()
    store.close()
    log.close()


def _wait_until_writing(folder: Path, child: int) -> None:
    """Returns once a checkpoint is half written, or the trainer has come to its end."""
    while not half_written(folder) and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0001)


def half_written(folder: Path) -> bool:
    """Whether a checkpoint has been begun and has no name yet."""
    return any(folder.glob(".unfinished-step-*"))


def main() -> None:
    address, topic, folder, case = *sys.argv[1:3], Path(sys.argv[3]), sys.argv[4]
    kills, rng, when, killed, cut_short = int(sys.argv[5]), random.Random(int(sys.argv[6])), sys.argv[7], 0, 0
    life = partial(train, address, topic, folder, case)

    def wait(child: int) -> None:
        if when == WHILE_WRITING:
            _wait_until_writing(folder, child)
        else:
            time.sleep(rng.random() * 0.02)

    while killed < kills:
        killed += not live_once(life, rng.randrange(MOST_STEPS_A_LIFE), wait)
        cut_short += half_written(folder)
    live_once(life, None, wait)
    content = read_files(folder / CheckpointStore(folder).names()[-1])
    report = {"killed": killed, "cut_short": cut_short, "step": content.step, "digest": digest(content),
              "state": content.state, "rounds": rounds_on_disk(folder)}  # fmt: skip
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
