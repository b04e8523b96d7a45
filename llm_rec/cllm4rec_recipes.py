"""Named runs of CLLM4Rec and its ablations: each is a function that returns the whole configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from llm_rec.backbone import BackboneConfig
from llm_rec.config import Cllm4recConfig
from llm_rec.fusion import FusionConfig
from llm_rec.schedule import ScheduleConfig
from llm_rec.switches import Switches, paper, reference
from llm_rec.text_start import TextStartConfig
from streams.contract.errors import NotFoundError


def cllm4rec() -> Cllm4recConfig:
    """The paper's method on SmolLM2, ID embeddings as wide as its words."""
    return Cllm4recConfig(name="cllm4rec", switches=paper(), id_std=None)


def cllm4rec_reference() -> Cllm4recConfig:
    """The reference code's choices on a frozen language model of the same kind."""
    return Cllm4recConfig(name="cllm4rec-reference", switches=reference(), id_std=0.02)


def llm_scratch() -> Cllm4recConfig:
    """A GPT-2-shaped model that starts from random weights and learns, instead of a pretrained frozen one."""
    backbone = BackboneConfig(kind="gpt2-small-shape", trainable=True)
    return replace(cllm4rec(), name="llm-scratch", backbone=backbone, id_std=0.02)


def llm_cf() -> Cllm4recConfig:
    """Interactions alone: no texts, no content set."""
    return replace(cllm4rec(), name="llm-cf", with_content=False, switches=Switches(lambda_c=0.0))


def llm_fixord() -> Cllm4recConfig:
    """Items always in the order of time: no stochastic reordering."""
    switches = replace(paper(), pretrain_order="chrono", finetune_order="chrono")
    return replace(cllm4rec(), name="llm-fixord", switches=switches)


def llm_prerec() -> Cllm4recConfig:
    """Pretraining alone, ranked by the next item token."""
    return replace(cllm4rec(), name="llm-prerec", schedule=ScheduleConfig(finetuning_epochs=0))


def llm_ftall() -> Cllm4recConfig:
    """The language model's own weights learn too, from the pretrained ones."""
    return replace(cllm4rec(), name="llm-ftall", backbone=BackboneConfig(trainable=True))


def cllm4rec_lora() -> Cllm4recConfig:
    """The paper's method with adapters of rank 8 in SmolLM2, which learn with the tokens."""
    return replace(cllm4rec(), name="cllm4rec-lora", backbone=BackboneConfig(lora_rank=8))


def cllm4rec_small_paper() -> Cllm4recConfig:
    """The paper's method from random weights, at a size that two cores train on a few tens of thousands of likes."""
    backbone = BackboneConfig(kind="gpt2-small-shape", trainable=True, width=64, layers=2, heads=4, positions=256)
    schedule = ScheduleConfig(
        warm_up_epochs=1, pretraining_epochs=4, finetuning_epochs=4, batch_size=64,
        pretraining_rate=3e-3, finetuning_rate=1e-3, backbone_rate=1e-3,
    )  # fmt: skip
    return Cllm4recConfig(
        name="cllm4rec-small-paper", backbone=backbone, schedule=schedule, switches=paper(), max_tokens=200
    )


def cllm4rec_small() -> Cllm4recConfig:
    """The best of ours at that width, with one layer: every next like in the order of time, without user tokens.

    Items start at what SmolLM2 reads of their texts and have a bias, linear weights stand beside the language model,
    and new items come from their words.
    """
    switches = Switches(
        pretrain_order="chrono", finetune_order="chrono", lambda_c=0.0, item_bias="likes", new_items="texts"
    )
    schedule = replace(
        cllm4rec_small_paper().schedule,
        warm_up_epochs=0, pretraining_epochs=20, finetuning_epochs=0, anonymous_share=1.0,
        pretraining_rate=2e-3, left_out_share=0.2, average=0.995,
    )  # fmt: skip
    backbone = replace(cllm4rec_small_paper().backbone, layers=1, dropout=0.2)
    return replace(
        cllm4rec_small_paper(), name="cllm4rec-small", backbone=backbone, with_content=False,
        switches=switches, schedule=schedule, start=TextStartConfig(), fusion=FusionConfig(),
    )  # fmt: skip


def cllm4rec_small_mixed() -> Cllm4recConfig:
    """`cllm4rec_small` where the order of likes says little: it learns more slowly, half of it in a random order."""
    small = cllm4rec_small()
    schedule = replace(
        small.schedule, pretraining_epochs=12, pretraining_rate=1e-3, backbone_rate=5e-4,
        left_out_share=0.3, average=0.99,
    )  # fmt: skip
    return replace(
        small, name="cllm4rec-small-mixed", backbone=replace(small.backbone, dropout=0.3),
        switches=replace(small.switches, pretrain_order="mixed"), schedule=schedule,
    )  # fmt: skip


def cllm4rec_first_blocks() -> Cllm4recConfig:
    """SmolLM2's first two blocks learn likes by adapters: a pretrained language model at the price of two cores.

    Items start at the mean of their words' embeddings, which these blocks can read. Each step moves 576 numbers an
    item, nine times as many as in `cllm4rec_small`, so the rate is a sixth of its.
    """
    small = cllm4rec_small()
    backbone = BackboneConfig(kept_blocks=2, lora_rank=16)
    schedule = replace(small.schedule, pretraining_epochs=8, pretraining_rate=3e-4, backbone_rate=1e-3, batch_size=16)
    start = TextStartConfig(reader=BackboneConfig(kept_blocks=2), of="words")
    return replace(small, name="cllm4rec-first-blocks", backbone=backbone, schedule=schedule, start=start)


def llm_unread_small() -> Cllm4recConfig:
    """`cllm4rec_small` with items that start at random: no language model has read their texts."""
    return replace(cllm4rec_small(), name="llm-unread-small", start=None)


def llm_cf_small() -> Cllm4recConfig:
    """`llm_cf` at the small size."""
    return replace(cllm4rec_small_paper(), name="llm-cf-small", with_content=False, switches=Switches(lambda_c=0.0))


def llm_fixord_small() -> Cllm4recConfig:
    """`llm_fixord` at the small size."""
    return replace(cllm4rec_small_paper(), name="llm-fixord-small", switches=llm_fixord().switches)


def llm_prerec_small() -> Cllm4recConfig:
    """`llm_prerec` at the small size, with as many epochs as the others have of both stages."""
    schedule = replace(cllm4rec_small_paper().schedule, pretraining_epochs=8, finetuning_epochs=0)
    return replace(cllm4rec_small_paper(), name="llm-prerec-small", schedule=schedule)


RECIPES: dict[str, Callable[[], Cllm4recConfig]] = {
    "cllm4rec": cllm4rec,
    "cllm4rec-reference": cllm4rec_reference,
    "cllm4rec-lora": cllm4rec_lora,
    "cllm4rec-small": cllm4rec_small,
    "cllm4rec-small-mixed": cllm4rec_small_mixed,
    "cllm4rec-small-paper": cllm4rec_small_paper,
    "cllm4rec-first-blocks": cllm4rec_first_blocks,
    "llm-unread-small": llm_unread_small,
    "llm-scratch": llm_scratch,
    "llm-cf": llm_cf,
    "llm-fixord": llm_fixord,
    "llm-prerec": llm_prerec,
    "llm-ftall": llm_ftall,
    "llm-cf-small": llm_cf_small,
    "llm-fixord-small": llm_fixord_small,
    "llm-prerec-small": llm_prerec_small,
}


def recipe_named(name: str) -> Cllm4recConfig:
    """The recipe of that name. Raises NotFoundError naming the others."""
    if name not in RECIPES:
        raise NotFoundError("is no recipe of CLLM4Rec", field="recipe", value=name,
                            remedy=f"use one of {', '.join(RECIPES)}")  # fmt: skip
    return RECIPES[name]()
