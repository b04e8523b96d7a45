"""ASMG on whole rounds: the served model is made of the last k checkpoints of one that learns round by round.

    learns       theta_{t-3} ──round t-2──> theta_{t-2} ──round t-1──> theta_{t-1} ──round t──> theta_t
    serves t+1       M(theta_{t-2}, theta_{t-1}, theta_t)
    trains M     M(theta_{t-3}, theta_{t-2}, theta_{t-1}) on round t, once that has been scored

theta learns every example once, as if there were no M. M's newest loss alone is descended (ASMG-GRU single),
and the GRU begins every sequence with h = 0: it would otherwise need h for every row of every table. Until M
has been trained once, theta itself serves.

Only the rows that a batch touches go through M. A row that is younger than a checkpoint stands there with
its value in the next one that has it; an id without a row is made of the checkpoints' default rows.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from streams.contract.columns import Array
from streams.contract.schema import Schema
from trainer.batch import RowBatch, labels_of
from trainer.future.rounds import Rounds
from trainer.future.theta import GatheredRows, Theta, remember
from trainer.prepare import Learnable
from trainer.recipes import RecipeConfig
from trainer.strategies.dated import DatedLearner
from trainer.strategies.modulator import Modulator


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """theta at the end of round `round`."""

    round: int
    theta: Theta


class ModulatedRounds(Rounds):
    """One model that learns rounds, its last checkpoints, and M."""

    def __init__(self, schema: Schema, recipe: RecipeConfig, folder: Path, *, device: str = "cpu") -> None:
        """`folder` holds the present round. Raises InputError, UnavailableError."""
        super().__init__(schema, recipe, folder, device=device)
        self._learner = DatedLearner(schema, recipe, device=device)
        config, k = self._config.modulator, self._config.num_rounds
        network = {name: value.numel() for name, value in self._learner.network.named_parameters()}
        rows = {_rows_of(name): dim for name, dim in schema.tables.items()}
        self.modulator = Modulator({**network, **rows}, k, config, recipe.tables.seed).to(device)
        self._optimizer = torch.optim.Adam(self.modulator.parameters(), lr=config.learning_rate)
        self._checkpoints: deque[Checkpoint] = deque(maxlen=k)
        self._network: dict[str, Tensor] = {}
        self._trained = False

    def _predict(self, learnable: Learnable) -> Array:
        if not self._trained:
            return self._learner.predict(learnable)
        with torch.no_grad():
            logits: Array = self._logits(self._learner.find(learnable), self._network).cpu().numpy()
        self._learner.check_finite(logits)
        return logits

    def _end_round(self) -> None:
        """M is trained on round t before theta learns it."""
        if len(self._checkpoints) == self._config.num_rounds:
            self._train_modulator()
        self._learner.round = self._t
        for learnable, share in self._round(self._t, self._recipe.batch_size):
            self._learner.learn_shares(learnable, share)
        self._checkpoints.append(Checkpoint(self._t, remember(self._learner)))
        if self._trained:
            with torch.no_grad():
                self._network = self._made_network()
        self._t += 1
        self._store.drop_before(self._t)

    def _train_modulator(self) -> None:
        config = self._config.modulator
        for _ in range(config.epochs):
            for learnable, _ in self._round(self._t, config.batch_size):
                logits = self._logits(self._learner.find(learnable), self._made_network())
                label, weight = labels_of(learnable.examples, logits.device)
                loss = binary_cross_entropy_with_logits(logits, label, weight)
                self._optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self._optimizer.step()
        self._trained = True

    def _made_network(self) -> dict[str, Tensor]:
        """M of the network's parameters, by name."""
        made = {}
        for name, value in self._learner.network.named_parameters():
            x = torch.stack([each.theta.network[name].reshape(1, -1) for each in self._checkpoints])
            made[name] = self.modulator(name, x).view_as(value)
        return made

    def _logits(self, batch: RowBatch, network: dict[str, Tensor]) -> Tensor:
        """Of M's model (E,): the network as made, and M of the rows that the batch touches."""
        rows = GatheredRows(self._learner, [batch])
        x, made = self._sequence(rows), []
        for table, name in enumerate(self._schema.tables):
            begin, end = rows.range_of(table)
            if end > begin:
                made.append(self.modulator(_rows_of(name), x[:, begin:end]))
        logits: Tensor = functional_call(self._learner.network, network, rows.inputs(batch, torch.cat(made)))
        return logits

    def _sequence(self, rows: GatheredRows) -> Tensor:
        """The rows in every checkpoint (k, U, D), oldest first, younger ones filled in from the next."""
        values: list[Tensor] = []
        for each in reversed(self._checkpoints):
            known = self._learner.known(rows.slots, each.round)
            then = rows.values(each.theta, known)
            if values:
                has = torch.from_numpy(known).to(then.device).unsqueeze(1)
                then = torch.where(has, then, values[-1])
            values.append(then)
        return torch.stack(values[::-1])


def _rows_of(table: str) -> str:
    """What the modulator calls a table's rows: no parameter of a network."""
    return f"rows:{table}"
