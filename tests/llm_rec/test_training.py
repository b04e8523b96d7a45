"""Whole small runs: what stays frozen, what a seed decides, and what a kill changes (nothing)."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_rec.backbone import BackboneConfig, load_backbone
from llm_rec.cllm4rec import CLLM4Rec
from llm_rec.config import Cllm4recConfig
from llm_rec.documents import Writer
from llm_rec.material import Material, interaction_documents
from llm_rec.run_file import NAME
from llm_rec.schedule import plan
from llm_rec.switches import Switches
from llm_rec.vocabulary import Vocabulary
from streams.contract.errors import FormatError, InputError
from tests.support.two_communities import SHORT, coloured, quiet, two_communities

DROPPING = replace(
    SHORT, backbone=BackboneConfig(kind="gpt2-small-shape", width=32, layers=2, heads=4, trainable=True), id_std=0.02
)


def learnt(config: Cllm4recConfig, folder: Path | None = None, *, seed: int = 0) -> dict[str, torch.Tensor]:
    model = CLLM4Rec(config, folder=folder, tell=quiet)
    model.fit(two_communities(), coloured(), seed=seed)
    return model.models.snapshot()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_language_model_is_bit_identical_behind_training() -> None:
    model = CLLM4Rec(SHORT, tell=quiet)
    model.fit(two_communities(), coloured(), seed=0)
    trained, fresh = model.models.backbone, load_backbone(SHORT.backbone)
    probe = torch.randn(1, 5, fresh.width)
    assert torch.equal(trained.words(), fresh.words())
    assert torch.equal(trained.forward(probe), fresh.forward(probe))
    assert model.models.snapshot().keys() == {"collaborative", "content"}


def test_a_trainable_language_model_learns() -> None:
    before = dict(load_backbone(DROPPING.backbone).parameters())
    after = learnt(DROPPING)
    assert all(not torch.equal(after[f"backbone.{name}"], before[name]) for name in before if "wte" in name)


@pytest.mark.parametrize("config", [SHORT, DROPPING], ids=["frozen", "with dropout, all learning"])
def test_a_seed_decides_every_bit(config: Cllm4recConfig) -> None:
    first = learnt(config)
    assert same(first, learnt(config))
    assert not same(first, learnt(config, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("fatal", [
    "pretraining, collaborative 1", "fine-tuning, recommend 2",
])  # fmt: skip
def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path, fatal: str) -> None:
    command = [sys.executable, "-m", "tests.support.killed_recommender", str(tmp_path), fatal]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / NAME).exists()
    assert same(learnt(SHORT, tmp_path), learnt(SHORT))


def test_a_run_with_dropout_and_validation_goes_on_bit_identical(tmp_path: Path) -> None:
    """Stopped behind each epoch in turn, so that every kind of state has been through the file."""
    schedule = replace(DROPPING.schedule, choose="validation", average=0.9, left_out_share=0.3)
    config = replace(DROPPING, schedule=schedule)

    class Stop(Exception):
        pass

    for epoch in plan(config.schedule, with_content=True)[1:]:

        def stop(message: str, at: str = f"{epoch}: loss") -> None:
            if message.startswith(at):
                raise Stop

        with pytest.raises(Stop):
            CLLM4Rec(config, folder=tmp_path, tell=stop).fit(two_communities(), coloured(), seed=0)
    assert same(learnt(config, tmp_path), learnt(config))


def test_a_finished_run_is_read_and_not_trained_again(tmp_path: Path) -> None:
    first = learnt(SHORT, tmp_path)
    told: list[str] = []
    model = CLLM4Rec(SHORT, folder=tmp_path, tell=told.append)
    model.fit(two_communities(), coloured(), seed=0)
    assert same(first, model.models.snapshot())
    assert not [line for line in told if "loss" in line]


def test_another_seed_or_config_may_not_go_on_with_a_run(tmp_path: Path) -> None:
    learnt(SHORT, tmp_path)
    for config, seed in ((SHORT, 1), (replace(SHORT, id_std=0.5), 0)):
        with pytest.raises(InputError, match="another config, seed or data"):
            learnt(config, tmp_path, seed=seed)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    learnt(SHORT, tmp_path)
    whole = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FormatError, match="checksum"):
        learnt(SHORT, tmp_path)
    (tmp_path / NAME).write_bytes(whole[:100])
    with pytest.raises(FormatError, match="cannot be read"):
        learnt(SHORT, tmp_path)


def test_without_fine_tuning_validation_keeps_an_epoch_of_pretraining() -> None:
    schedule = replace(SHORT.schedule, pretraining_epochs=2, finetuning_epochs=0, choose="validation")
    told: list[str] = []
    CLLM4Rec(replace(SHORT, schedule=schedule), tell=told.append).fit(two_communities(), coloured(), seed=0)
    assert [line.split(":")[0] for line in told if "validation" in line] == [
        "pretraining, collaborative 1 of 2", "pretraining, collaborative 2 of 2",
    ]  # fmt: skip


def test_without_texts_there_are_no_content_epochs() -> None:
    tasks = [epoch.task for epoch in plan(SHORT.schedule, with_content=False)]
    assert tasks == ["collaborative", "recommend", "recommend"]
    assert [str(epoch) for epoch in plan(SHORT.schedule, with_content=True)][:3] == [
        "warm-up, content 1 of 1", "pretraining, collaborative 1 of 1", "pretraining, content 1 of 1",
    ]  # fmt: skip


def test_likes_left_out_of_documents_are_others_each_time_and_nobody_loses_all() -> None:
    likes = [np.arange(40), np.arange(2)]
    material = Material(likes, coloured().texts)
    writer = Writer(Vocabulary(load_backbone(SHORT.backbone).tokenize, 256, 2, 40), "paper", 200)
    schedule = replace(SHORT.schedule, left_out_share=0.25)
    drawn = []
    for seed in range(2):
        documents = interaction_documents(material, writer, Switches(pretrain_order="chrono"), schedule,
                                          np.random.default_rng(seed))  # fmt: skip
        drawn.append([document.main.tolist() for document in documents])
    assert drawn[0][0] != drawn[1][0]
    assert 20 < len(drawn[0][0]) < 40
    assert drawn[0][0] == sorted(drawn[0][0])
    assert len(drawn[0][1]) == len(drawn[1][1]) == 2
