"""Whole rounds: what may be known when, what each lineage learns, and what uniform weights are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streams.contract.columns import Array
from streams.contract.errors import FreshetError, InputError
from streams.contract.examples import ExampleBatch
from tests.support.round_batches import REQUESTS_A_ROUND, round_batches
from tests.support.toy_examples import toy_batch, toy_recipe, toy_schema
from trainer.future.config import UpdateConfig, Weighing
from trainer.future.mixers import FixedWeights
from trainer.future.paper import PaperRounds
from trainer.future.round_store import RoundStore
from trainer.learner import Learner
from trainer.learner_state import learner_tensors
from trainer.recipes import RecipeConfig, recipe

B = 3


def with_rounds(weighing: Weighing, *, b: int = B, **changes: object) -> RecipeConfig:
    update = UpdateConfig(weighing=weighing, num_rounds=b, round_seconds=REQUESTS_A_ROUND)
    return toy_recipe(name=weighing, update=replace(update, **changes))  # type: ignore[arg-type]


def run(folder: Path, config: RecipeConfig, data: list[ExampleBatch]) -> tuple[PaperRounds, list[Array]]:
    rounds = PaperRounds(toy_schema(), config, folder)
    return rounds, [rounds.take(batch).logit for batch in data]


@pytest.mark.parametrize("weighing", ["attention", "random"])
def test_labels_of_a_round_change_no_prediction_within_it(weighing: Weighing, tmp_path: Path) -> None:
    clean = list(round_batches(7))
    _, expected = run(tmp_path / "clean", with_rounds(weighing), clean)
    seen = 0
    for poisoned_round in (4, 6):
        begin = poisoned_round * REQUESTS_A_ROUND * 4
        poisoned, at = [], 0
        for batch in clean:
            place = np.arange(at, at + len(batch))
            poisoned.append(replace(batch, label=np.where(place >= begin, 1 - batch.label, batch.label)))
            at += len(batch)
        _, got = run(tmp_path / str(poisoned_round), with_rounds(weighing), poisoned)
        known = begin + REQUESTS_A_ROUND * 4
        np.testing.assert_array_equal(np.concatenate(got)[:known], np.concatenate(expected)[:known])
        if poisoned_round < 6:
            assert not np.array_equal(np.concatenate(got)[known:], np.concatenate(expected)[known:])
            seen += 1
    assert seen


def test_reading_a_round_that_is_not_scored_whole_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = PaperRounds(toy_schema(), with_rounds("attention"), tmp_path)
    read = RoundStore.read
    reads: list[int] = []

    def guarded(store: RoundStore, t: int, record: int) -> ExampleBatch:
        scored = rounds.progressive.lifetime.scores().examples
        assert scored >= (t + 1) * REQUESTS_A_ROUND * 4, "a round was read before it was scored"
        reads.append(t)
        return read(store, t, record)

    monkeypatch.setattr(RoundStore, "read", guarded)
    for batch in round_batches(7):
        rounds.take(batch)
    assert max(reads) == 5


def test_model_that_diverged_stops_when_it_predicts(tmp_path: Path) -> None:
    rounds, _ = run(tmp_path, with_rounds("attention"), list(round_batches(6)))
    scored = rounds.progressive.lifetime.scores()
    with torch.no_grad():
        next(rounds.deployed().network.parameters()).fill_(np.nan)
    with pytest.raises(FreshetError, match="diverged"):
        rounds.take(toy_batch(1))
    assert rounds.progressive.lifetime.scores() == scored


def test_untrained_generator_is_the_batch_window_bit_for_bit(tmp_path: Path) -> None:
    still = with_rounds("attention", generator=replace(UpdateConfig().generator, steps=0))
    window, window_logits = run(tmp_path / "a", with_rounds("uniform"), list(round_batches(8)))
    future, future_logits = run(tmp_path / "b", still, list(round_batches(8)))
    np.testing.assert_array_equal(np.concatenate(window_logits), np.concatenate(future_logits))
    for part, tensors in learner_tensors(window.deployed()).items():
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(tensor, learner_tensors(future.deployed())[part][name], err_msg=name)


def test_each_lineage_learns_each_example_once_in_order_of_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt: dict[int, Counter[tuple[str, str]]] = {}
    step = Learner.learn_shares

    def counted(learner: Learner, learnable: object, share: Array) -> None:
        examples: ExampleBatch = learnable.examples  # type: ignore[attr-defined]
        keys = [(examples.impression_id[r], ad, str(at)) for at, (r, ad) in
                enumerate(zip(examples.request_index.tolist(), examples.ad_id, strict=True))]  # fmt: skip
        learnt.setdefault(id(learner), Counter()).update((i, f"{examples.position[int(at)]}") for i, _, at in keys)
        step(learner, learnable, share)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "learn_shares", counted)
    rounds, _ = run(tmp_path, with_rounds("random"), list(round_batches(10)))
    assert len(learnt) == B
    assert {count for counter in learnt.values() for count in counter.values()} == {1}
    newest = learnt[id(rounds.deployed())]
    # Theta of round 9 comes from those of rounds 6 and 3; the third was the second after round 2.
    assert len(newest) == 4 * REQUESTS_A_ROUND * 7


def test_gradients_teach_the_mixer_and_the_account_tells_weights_and_error(tmp_path: Path) -> None:
    rounds, _ = run(tmp_path, with_rounds("attention"), list(round_batches(9)))
    assert [mix.t for mix in rounds.mixes] == [4, 5, 6, 7]
    np.testing.assert_allclose(rounds.mixes[0].weights, 1 / 3, atol=1e-6)
    assert not np.allclose(rounds.mixes[-1].weights, 1 / 3, atol=1e-4)
    assert np.isfinite(rounds.mixes[0].forecast_error)


def test_window_of_one_round_is_the_incremental_update(tmp_path: Path) -> None:
    rounds, logits = run(tmp_path, with_rounds("uniform", b=1), list(round_batches(6)))
    assert isinstance(rounds.mixer, FixedWeights)
    assert sum(map(len, logits)) == rounds.progressive.lifetime.scores().examples == 6 * REQUESTS_A_ROUND * 4


def test_window_on_disk_holds_no_more_rounds_than_are_mixed_and_scored(tmp_path: Path) -> None:
    run(tmp_path, with_rounds("uniform"), list(round_batches(9)))
    assert len(list(tmp_path.glob("round-*"))) <= B + 1


@pytest.mark.parametrize("name", ["batch-window-3", "window-5", "fgd-2", "fgd-3-eg-live", "fgd-linear-4", "decay-3"])
def test_names_made_of_parts_are_recipes(name: str) -> None:
    config = recipe(name)
    assert config.name == name
    assert config.update is not None
    assert config.update.mode == ("live" if name.endswith("-live") else "paper")


@pytest.mark.parametrize("name", ["fgd", "fgd-0", "fgd-3-softmax", "batch-window-3-eg", "sideways-3"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown recipe"):
        recipe(name)
