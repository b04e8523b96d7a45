from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
from tests.support.small_model import digest, shared_schema, train_steps
from trainer.model.dlrm import DlrmConfig
from trainer.model.tables import TablesConfig

network = DlrmConfig(bottom=(64, 32), top=(64, 32))
tables = TablesConfig(optimizer={optimizer!r}, capacity=200)
for steps in (0, 12):
    print(digest(train_steps(shared_schema(16), network, tables, steps=steps, threads={threads}, batch=1024)))
"""


def digests_of_run(*, optimizer: str, threads: int) -> list[str]:
    """Hashes of the weights before and after a run, in a process of its own."""
    script = SCRIPT.format(optimizer=optimizer, threads=threads)
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    return run.stdout.split()


@pytest.mark.parametrize(("optimizer", "threads"), [("adagrad", 1), ("adagrad", 2), ("rowwise_adagrad", 2)])
def test_same_batches_in_a_fresh_process_give_the_same_bits(optimizer: str, threads: int) -> None:
    first, second = (digests_of_run(optimizer=optimizer, threads=threads) for _ in range(2))
    assert first == second
    untrained, trained = first
    assert untrained != trained
