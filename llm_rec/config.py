"""Everything that decides what CLLM4Rec learns from given likes and texts."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_rec.backbone import BackboneConfig
from llm_rec.fusion import FusionConfig
from llm_rec.schedule import ScheduleConfig
from llm_rec.switches import NewItemsFrom, Switches
from llm_rec.text_start import TextStartConfig
from streams.contract.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Cllm4recConfig:
    """One run; `llm_rec.cllm4rec_recipes` has the named ones."""

    name: str = "cllm4rec"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    switches: Switches = field(default_factory=Switches)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    with_content: bool = True
    """Whether texts are read at all; without them the content set is left as it was drawn."""
    id_std: float | None = 0.02
    """The standard deviation of fresh ID embeddings; None: that of the backbone's words."""
    start: TextStartConfig | None = None
    """Where item embeddings start out of texts; None: at random, as in paper and reference."""
    fusion: FusionConfig | None = None
    """What is put beside the language model's scores; None: nothing, as in paper and reference."""
    max_tokens: int = 1024
    """The longest row; a backbone may take less."""
    device: str = "cpu"
    bfloat16: bool = False
    """Whether the language model computes in bfloat16; losses and what is learnt stay in float32."""

    def __post_init__(self) -> None:
        if self.id_std is not None and self.id_std <= 0:
            raise InputError(
                "must be above 0", field="id_std", value=self.id_std, remedy="give None for the backbone's"
            )
        if not self.with_content and self.switches.lambda_c:
            raise InputError("would hold the collaborative set to noise, where no content is learnt",
                             field="switches.lambda_c", value=self.switches.lambda_c, remedy="set it to 0")  # fmt: skip
        if self.fusion is None:
            return
        if self.switches.item_bias == "none":
            raise InputError("is added to the items' bias, and items have none", field="fusion",
                             value=self.switches.item_bias, remedy='set switches.item_bias to "likes"')  # fmt: skip
        if self.switches.eval_order != "chrono":
            raise InputError("reads histories in the order of time", field="switches.eval_order",
                             value=self.switches.eval_order, remedy='set it to "chrono"')  # fmt: skip

    @property
    def new_items_from(self) -> NewItemsFrom | None:
        """What stands for items without training likes; None: nothing, as no content is learnt."""
        return None if self.switches.new_items == "content" and not self.with_content else self.switches.new_items
