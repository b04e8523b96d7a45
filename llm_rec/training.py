"""Pretraining and fine-tuning, one epoch after the other, each of its own random numbers.

An epoch depends on the state before it, the seed and its number alone. So a run that is killed goes on
from its last finished epoch and ends bit-identical to one that was not (on one machine, on the CPU).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xxhash
from torch import Tensor

from llm_rec.averaging import Average
from llm_rec.batches import batch_of, rows_as_listed, rows_by_length
from llm_rec.config import Cllm4recConfig
from llm_rec.documents import Document, Writer
from llm_rec.material import Material, content_documents, finetuning_prompts, interaction_documents
from llm_rec.models import Models
from llm_rec.optimizers import Optimizers, moved, owner_of
from llm_rec.run_file import read_run, write_run
from llm_rec.schedule import Epoch, plan
from llm_rec.steps import collaborative_loss, content_loss, recommend_loss
from streams.contract.columns import Array
from streams.contract.errors import InputError

_SEED_STRIDE = 1_000_003


@dataclass(slots=True)
class Progress:
    """How far a run is: epochs done, and the best validation so far with the state that reached it."""

    done: int = 0
    best_score: float | None = None
    best: dict[str, Tensor] | None = None


class Trainer:
    """Trains two models on their material; `validate` scores the present state after each fine-tuning epoch."""

    def __init__(
        self,
        models: Models,
        writer: Writer,
        material: Material,
        config: Cllm4recConfig,
        *,
        seed: int,
        validate: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self._models, self._writer, self._material = models, writer, material
        self._config, self._switches, self._schedule = config, config.switches, config.schedule
        self._seed, self._validate, self._tell = seed, validate, tell
        self._content = content_documents(material, writer) if config.with_content else []
        self._plan = plan(config.schedule, with_content=bool(self._content))
        self._moved = moved(models, {epoch.task for epoch in self._plan})

    def run(self, folder: Path | None = None) -> None:
        """Runs all epochs, from where the run in `folder` stopped if there is one, and keeps the chosen state.

        Raises InputError where the folder's run has another config, seed or other material, FormatError
        where its file is damaged.
        """
        weights = {name: parameter for group in self._moved.values() for name, parameter in group.items()}
        average = Average(weights, self._schedule.average)
        optimizers, progress = self._resume(folder, average)
        for number in range(progress.done, len(self._plan)):
            epoch = self._plan[number]
            if optimizers is None or self._begins_stage(number):
                optimizers = Optimizers(self._moved, self._schedule, epoch.stage)
            self._run_epoch(epoch, number, optimizers, average)
            with average.shown():
                self._choose(epoch, progress)
            progress.done = number + 1
            if folder is not None:
                self._save(folder, optimizers, average, progress)
        average.keep()
        if progress.best is not None:
            self._models.restore(progress.best)

    def _begins_stage(self, number: int) -> bool:
        """Whether Adam starts anew: its rate changes with fine-tuning."""
        tuning = [epoch.stage == "fine-tuning" for epoch in self._plan[max(0, number - 1) : number + 1]]
        return tuning == [False, True]

    def _run_epoch(self, epoch: Epoch, number: int, optimizers: Optimizers, average: Average) -> None:
        began, total, steps = time.monotonic(), 0.0, 0
        rng = np.random.default_rng([self._seed, number])
        with torch.random.fork_rng():
            torch.manual_seed(self._seed * _SEED_STRIDE + number)
            self._models.backbone.set_dropout(self._has_dropout(epoch))
            for loss in self._losses(epoch, rng):
                optimizers.descend(loss, owner_of(epoch.task))
                average.take()
                total, steps = total + float(loss.detach()), steps + 1
        self._models.backbone.set_dropout(False)
        mean = total / max(1, steps)
        self._tell(f"{epoch}: loss {mean:.4f} over {steps} steps, {time.monotonic() - began:.1f} s")

    def _has_dropout(self, epoch: Epoch) -> bool:
        ended = epoch.stage == "fine-tuning" and epoch.task == "content"
        return not ended or self._switches.content_dropout == "always"

    def _losses(self, epoch: Epoch, rng: np.random.Generator) -> Iterator[Tensor]:
        models, switches = self._models, self._switches
        if epoch.task == "recommend":
            prompts, targets = finetuning_prompts(self._material, self._writer, switches, self._schedule, rng)
            for rows in self._rows([len(prompt) for prompt in prompts], rng):
                yield recommend_loss(models, [prompts[row] for row in rows], [targets[row] for row in rows], switches)
            return
        documents = self._documents(epoch, rng)
        for rows in self._rows([len(document.prompt) + len(document.main) for document in documents], rng):
            batch = batch_of([documents[row] for row in rows], models.device)
            if epoch.task == "collaborative":
                yield collaborative_loss(models, batch, switches)
            else:
                yield content_loss(models, batch, switches, regularised=epoch.regularised)

    def _documents(self, epoch: Epoch, rng: np.random.Generator) -> list[Document]:
        if epoch.task == "content":
            return self._content
        return interaction_documents(self._material, self._writer, self._switches, self._schedule, rng)

    def _rows(self, lengths: Sequence[int], rng: np.random.Generator) -> list[Array]:
        if self._switches.batches == "as_listed":
            return rows_as_listed(len(lengths), self._schedule.batch_size)
        return rows_by_length(np.array(lengths, dtype=np.int64), self._schedule.batch_size, rng)

    def _choose(self, epoch: Epoch, progress: Progress) -> None:
        """Validates behind an epoch that may be kept and remembers the state if it is the best so far."""
        if epoch.task != self._schedule.kept or self._schedule.choose == "last":
            return
        score = self._validate()
        self._tell(f"{epoch}: validation {score:.4f}")
        if progress.best_score is None or score > progress.best_score:
            progress.best_score, progress.best = score, self._models.snapshot()

    def _save(self, folder: Path, optimizers: Optimizers, average: Average, progress: Progress) -> None:
        parts = {"now": self._models.snapshot(), "best": progress.best or {},
                 "adam": optimizers.tensors(), "average": average.tensors()}  # fmt: skip
        tensors = {f"{part}/{name}": tensor for part, held in parts.items() for name, tensor in held.items()}
        values = {"run": self._identity(), "done": progress.done, "best_score": progress.best_score,
                  "averaged_steps": average.steps}  # fmt: skip
        write_run(folder, tensors, values)

    def _resume(self, folder: Path | None, average: Average) -> tuple[Optimizers | None, Progress]:
        found = None if folder is None else read_run(folder)
        if found is None:
            return None, Progress()
        tensors, values = found
        if values["run"] != self._identity():
            raise InputError("holds a run of another config, seed or data", field="folder", value=str(folder),
                             remedy="give a new folder, or resume with what that run began with")  # fmt: skip
        best = _part(tensors, "best")
        self._models.restore(_part(tensors, "now"))
        average.restore(_part(tensors, "average"), values["averaged_steps"])
        optimizers = Optimizers(self._moved, self._schedule, self._plan[values["done"] - 1].stage)
        optimizers.restore(_part(tensors, "adam"))
        self._tell(f"resumed behind {self._plan[values['done'] - 1]}")
        return optimizers, Progress(values["done"], values["best_score"], best or None)

    def _identity(self) -> str:
        """What the run learns from, as a hash: config, seed, likes and texts."""
        digest = xxhash.xxh3_128(repr((self._config, self._seed)).encode())
        digest.update(repr(tuple(self._material.texts)).encode())
        digest.update(repr(tuple(self._material.reviews)).encode())
        for items in self._material.likes:
            digest.update(np.array([len(items), *items], dtype=np.int64).data)
        return digest.hexdigest()


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{part}/"): held for name, held in tensors.items() if name.startswith(f"{part}/")}
