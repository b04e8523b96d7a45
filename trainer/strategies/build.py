"""The strategy of whole rounds that a recipe asks for."""

from __future__ import annotations

from pathlib import Path

from streams.contract.schema import Schema
from trainer.future.paper import PaperRounds
from trainer.future.rounds import Rounds
from trainer.recipes import RecipeConfig
from trainer.strategies.asmg import ModulatedRounds
from trainer.strategies.spmf import ReservoirRounds


def rounds_of(schema: Schema, recipe: RecipeConfig, folder: Path, *, device: str = "cpu") -> Rounds:
    """Untrained; `folder` holds its rounds. Raises InputError, UnavailableError."""
    assert recipe.update is not None, "a recipe with rounds"
    match recipe.update.method:
        case "mix":
            return PaperRounds(schema, recipe, folder, device=device)
        case "spmf":
            return ReservoirRounds(schema, recipe, folder, device=device)
        case "asmg":
            return ModulatedRounds(schema, recipe, folder, device=device)
