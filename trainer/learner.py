"""One model that learns: predict, score, learn. It knows no log, no files and no publisher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from streams.contract.columns import Array
from streams.contract.errors import FreshetError, InputError
from streams.contract.examples import ExampleBatch
from streams.contract.features import FeatureBatch
from streams.contract.schema import Schema
from trainer.batch import RowBatch, RowLookup, ad_columns, ad_ids, labels_of, part_of
from trainer.calibration import OnlineCalibration
from trainer.changes import Changes
from trainer.counting import counting_of
from trainer.delayed.click_delays import ClickDelays
from trainer.delayed.learning import delayed_learning
from trainer.dense_optimizer import build_optimizer
from trainer.downsampling import DownsamplingConfig, kept
from trainer.future.ascent import within_reach
from trainer.model.network import build_network
from trainer.model.tables import LocalTables
from trainer.parts import part_size, ranges
from trainer.prepare import Learnable
from trainer.progressive import Progressive
from trainer.recipes import RecipeConfig
from trainer.tally import Floats
from trainer.vocabulary import Vocabulary


@dataclass(slots=True)
class Counters:
    """How much was learnt. Times: the newest event's on the data's clock; the newest label's on the wall clock."""

    step: int = 0
    examples: int = 0
    newest_event_time_ms: int = 0
    newest_ingest_ms: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """Predictions of E examples made before they were learnt: logit (E,), loss (E,), nan for corrections."""

    logit: Array
    loss: Floats
    uncalibrated: Array | None = None
    """The logits (E,) before calibration, where there is one."""


class Learner:
    """Tables, dense network, their optimizers, vocabulary and scores of one recipe over one schema."""

    def __init__(self, schema: Schema, recipe: RecipeConfig, *, device: str = "cpu") -> None:
        """An untrained model. Raises InputError for a device that is not there, or what cannot be built."""
        self.schema = schema
        self.recipe = recipe
        self._device = checked_device(device)
        self.tables = LocalTables(schema, recipe.tables, device=device)
        self.network = build_network(schema, recipe.network).to(self._device)
        self.optimizer = build_optimizer(self.network, recipe.optimizer)
        self.vocabulary = Vocabulary({n: self.tables.capacity(n) for n in self.tables.names}, recipe.vocabulary)
        self.progressive = Progressive(recipe.progressive)
        self.calibration = None if recipe.calibration is None else OnlineCalibration(recipe.calibration, schema)
        self.counters = Counters()
        self.online = counting_of(schema, recipe)
        self.click_delays = ClickDelays()
        self.delayed = delayed_learning(schema, recipe.delayed, seed=recipe.tables.seed, device=self._device)
        self._ad_columns = ad_columns(schema)
        self.changes = Changes(self.vocabulary.num_slots, len(self._ad_columns))
        self._rows = RowLookup(self.vocabulary, self._device)

    def learn(self, learnable: Learnable) -> Scored:
        """Predicts E examples, scores and learns them: each is predicted before it is learnt.

        Raises FreshetError where a prediction is not finite: the model has diverged. Parts of the batch before the
        one that showed it are learnt then, so the learner is of no more use: resume from a checkpoint.
        """
        examples, features = learnable.examples, learnable.features
        newest_ms = int(examples.event_time_ms.max())
        batch = self._rows(features, learnable.seen, newest_ms)
        self._begin_rows(batch)
        predicted = self._learn_rows(batch, examples)
        served = self._calibrated(features, predicted)
        losses = self.progressive.add(examples, served)
        if self.calibration is not None:
            self.calibration.learn(examples, features, predicted, served)
        self.click_delays.add(examples)
        self._account(examples, features, batch, newest_ms)
        return Scored(served, losses, None if self.calibration is None else predicted)

    def _learn_rows(self, batch: RowBatch, examples: ExampleBatch) -> Array:
        """The logits (E,) of E examples, each before it was learnt: all at once, or part after part."""
        size = part_size(self.recipe.first_parts, self.recipe.batch_size, self.counters.examples)
        if size == self.recipe.batch_size or size >= len(examples):
            return self._learn_part(batch, examples, size)
        parts = [
            self._learn_part(part_of(batch, np.arange(start, stop)), examples.slice(start, stop), size)
            for start, stop in ranges(len(examples), size)
        ]
        return np.concatenate(parts)

    def _learn_part(self, batch: RowBatch, examples: ExampleBatch, size: int) -> Array:
        """Predicts, then takes one step of `size` examples, the last of a batch may be of fewer."""
        # Where most examples are dropped, gradients are worth their price for the others alone.
        with torch.set_grad_enabled(self.recipe.downsampling is None):
            logits = self._forward(batch)
        predicted: Array = logits.detach().float().cpu().numpy()
        self.check_finite(predicted)
        if self.recipe.downsampling is None:
            self._update(logits, examples, size)
        else:
            self._update_on_part(logits, batch, examples, size, self.recipe.downsampling)
        return predicted

    def predict(self, learnable: Learnable) -> Array:
        """Logits (E,) of examples; nothing is scored, learnt or admitted. FreshetError where one is not finite."""
        with torch.no_grad():
            logits: Array = self._forward(self.find(learnable)).float().cpu().numpy()
        self.check_finite(logits)
        return self._calibrated(learnable.features, logits)

    def find(self, learnable: Learnable) -> RowBatch:
        """The rows that the examples have now, a default row for an id without one; nothing is admitted."""
        return self._rows.find(learnable.features, learnable.seen)

    def learn_shares(self, learnable: Learnable, share: Array) -> None:
        """One step along the sum of the losses of E examples times their `share` (E,); they are not scored.

        Raises FreshetError where the model has diverged.
        """
        examples, features = learnable.examples, learnable.features
        newest_ms = int(examples.event_time_ms.max())
        batch = self._rows(features, learnable.seen, newest_ms)
        self._begin_rows(batch)
        logits = self._forward(batch)
        self.check_finite(logits.detach().float().cpu().numpy())
        self._update_by_shares(logits, examples, share)
        self._account(examples, features, batch, newest_ms)

    def window_state(self) -> dict[str, Array]:
        """What a window of rounds, or a teacher, adds to a checkpoint; nothing without one."""
        return {}

    def load_window_state(self, state: Mapping[str, Array]) -> None:
        """The inverse of `window_state`."""

    def _calibrated(self, features: FeatureBatch, logits: Array) -> Array:
        return logits if self.calibration is None else self.calibration(features, logits)

    def check_finite(self, predicted: Array) -> None:
        """Raises FreshetError where a logit is not finite."""
        if not np.isfinite(predicted).all():
            raise FreshetError("predictions are not finite: the model has diverged", field="recipe",
                               value=self.recipe.name,
                               remedy="lower the learning rates and resume from an earlier checkpoint")  # fmt: skip

    def _begin_rows(self, batch: RowBatch) -> None:
        """Gives admitted ids their first values."""
        admitted = batch.assignment.admitted
        if len(admitted):
            rows = admitted.slots - self.vocabulary.offsets[admitted.tables]
            self.tables.begin_rows(admitted.tables, admitted.ids, rows)

    def _forward(self, batch: RowBatch) -> torch.Tensor:
        of_request, of_candidate = self.tables.forward(batch.request, batch.candidate)
        if self.delayed is not None:
            self.delayed.see(batch, of_request, of_candidate)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self.recipe.bfloat16):
            logits: torch.Tensor = self.network(
                batch.request_dense, of_request, batch.candidate_dense, of_candidate, batch.request_index
            )
        return logits

    def _update_on_part(
        self, logits: torch.Tensor, batch: RowBatch, examples: ExampleBatch, size: int, config: DownsamplingConfig
    ) -> None:
        """One step on the examples that downsampling keeps, at the log odds among these; the others weigh nothing."""
        chosen = kept(examples, config)
        if not len(chosen):
            return
        places = torch.from_numpy(chosen).to(self._device)
        shifted = logits.index_put((places,), self._forward(part_of(batch, chosen)) + config.logit_shift)
        weight = np.zeros_like(examples.weight)
        weight[chosen] = examples.weight[chosen]
        self._update(shifted, replace(examples, weight=weight), size)

    def _update(self, logits: torch.Tensor, examples: ExampleBatch, size: int) -> None:
        """One step. For the rows the sum of losses is divided by the full batch, so an example weighs the same in
        batches, parts and short ones; for the network by the `size` of a part, so its steps are of one length."""
        label, weight = labels_of(examples, self._device)
        if not self.recipe.learn_corrections:
            weight = weight * torch.from_numpy(~examples.correction).to(self._device)
        loss = self._summed_loss(logits.float(), label, weight, examples)
        self.optimizer.zero_grad()
        (loss / self.recipe.batch_size).backward()  # type: ignore[no-untyped-call]
        if size < self.recipe.batch_size:
            self._enlarge_gradients(self.recipe.batch_size / size)
        self.optimizer.step()

    def _enlarge_gradients(self, factor: float) -> None:
        for parameter in self.network.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)

    def _summed_loss(
        self, logits: torch.Tensor, label: torch.Tensor, weight: torch.Tensor, examples: ExampleBatch
    ) -> torch.Tensor:
        """The sum of the losses of E examples, all (E,), each times its weight."""
        if self.delayed is None:
            return binary_cross_entropy_with_logits(logits, label, weight, reduction="sum")
        return self.delayed.loss(logits, label, weight, torch.tensor(examples.correction).to(self._device))

    def _update_by_shares(self, logits: torch.Tensor, examples: ExampleBatch, share: Array) -> None:
        """One step along the sum of the losses, each times its weight and its `share` (E,).

        A share below 0 climbs its example's loss, as far as the recipe lets it.
        """
        label, weight = labels_of(examples, self._device)
        weight = weight * torch.from_numpy(share).to(self._device)
        if self.recipe.update is not None and (share < 0).any():
            weight = within_reach(logits.detach().float(), label, weight, self.recipe.update.reach)
        loss = binary_cross_entropy_with_logits(logits.float(), label, weight, reduction="sum")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def _account(self, examples: ExampleBatch, features: FeatureBatch, batch: RowBatch, newest_ms: int) -> None:
        self.network.see(batch.request_dense, batch.candidate_dense)
        counters, settled_ms = self.counters, examples.decided_ingest_ms
        counters.step += 1
        counters.examples += len(examples)
        counters.newest_event_time_ms = max(counters.newest_event_time_ms, newest_ms)
        counters.newest_ingest_ms = max(counters.newest_ingest_ms, int(settled_ms.max()))
        ads = ad_ids(features.candidate, self._ad_columns)
        self.changes.record(batch.assignment.slots, batch.assignment.evicted, ads, settled_ms)

    @property
    def accounts_of_changes(self) -> list[Changes]:
        """What the next version must bring, of rows and of counters."""
        return [self.changes, *([self.online.changes] if self.online is not None else [])]

    @property
    def ad_keys(self) -> tuple[str, ...]:
        """Names of the ad's single-valued keys, as the columns of a delta's `ads`."""
        keys = self.schema.sparse(of_request=False)
        return tuple(keys[place].name for place in self._ad_columns)


def checked_device(name: str) -> torch.device:
    """The device of that name. Raises InputError where it is unknown or not there."""
    if name not in ("cpu", "cuda"):
        raise InputError("unknown device", field="device", value=name, remedy="use cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device", field="device", value=name, remedy="use cpu")
    return torch.device(name)
