"""Where CLLM4Rec's paper and its reference code differ, and which of the two is followed.

Paper: Zhu et al., "Collaborative Large Language Model for Recommender Systems", WWW 2024.
Reference code: github.com/yaochenzhu/LLM4Rec at d19ebd5. docs/cllm4rec.md has the table of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from streams.contract.errors import InputError

Order = Literal["id", "chrono", "random", "mixed"]
"""`random` is drawn anew each time; `mixed`: by time or random, as likely."""
NewItemsFrom = Literal["content", "texts"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Switches:
    """One choice a difference; the default of each is the paper's."""

    wording: Literal["code", "paper"] = "paper"
    """How prompts are worded."""
    pretrain_order: Order = "random"
    """The order of items in interaction documents."""
    finetune_order: Order = "random"
    eval_order: Order = "chrono"
    """The order of the history in prompts that are scored; `random` is drawn from `eval_seed`."""
    eval_seed: int = 0
    first_main_token: Literal["train", "skip"] = "train"
    """Whether the first token of a main text is predicted from its prompt, or no loss is taken on it."""
    regulariser: Literal["half_l2_mean", "sum"] = "half_l2_mean"
    """Half the squared distance a token, averaged; or squared distances summed over the batch."""
    lambda_c: float = 1.0
    """How strongly the two sets are held together; 0: not at all."""
    lambda_l: float = 0.0
    """How strongly the collaborative set is held to 0."""
    regularise_targets: bool = True
    """Whether fine-tuning holds the target items together too, or those of the prompt alone."""
    target: Literal["holdout", "all"] = "holdout"
    """What fine-tuning predicts: the masked items, or masked and given ones."""
    content_dropout: Literal["always", "until_validation"] = "always"
    """Whether the content epochs of fine-tuning have dropout: validation turns it off for good in the reference."""
    item_bias: Literal["none", "likes"] = "none"
    """Whether each item has a bias that is learnt, begun at the logarithm of its likes: not in paper and reference."""
    new_items: NewItemsFrom = "content"
    """What stands for an item without training likes: its content embedding, or a regression on its words."""
    batches: Literal["by_length", "as_listed"] = "by_length"
    """Shuffled, with rows of like length together; or users and documents in their own order, each epoch alike."""

    def __post_init__(self) -> None:
        for name in ("lambda_c", "lambda_l"):
            if getattr(self, name) < 0:
                raise InputError("must not be negative", field=f"switches.{name}", value=getattr(self, name))
        if self.eval_order == "mixed":
            raise InputError("would show some users' histories in another order than others'",
                             field="switches.eval_order", value="mixed", remedy="take one order for all")  # fmt: skip


def paper() -> Switches:
    """As the paper describes it."""
    return Switches()


def reference() -> Switches:
    """As the reference code does it, without what keeps it from running."""
    return Switches(
        wording="code", pretrain_order="id", finetune_order="random", eval_order="random", first_main_token="skip",
        regulariser="sum", lambda_c=1.0, lambda_l=0.0, regularise_targets=False, target="all",
        content_dropout="until_validation", batches="as_listed",
    )  # fmt: skip
