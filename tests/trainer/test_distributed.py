"""Which trainer this process is."""

from __future__ import annotations

import pytest

from streams.contract.errors import InputError
from trainer.distributed import Place, place_from


def test_without_torchrun_there_is_one_trainer() -> None:
    assert place_from({}) == Place(rank=0, world_size=1)


def test_torchrun_with_one_process_is_the_same() -> None:
    assert place_from({"RANK": "0", "WORLD_SIZE": "1"}) == Place(rank=0, world_size=1)


@pytest.mark.parametrize(
    ("environment", "field"), [({"RANK": "1", "WORLD_SIZE": "2"}, "WORLD_SIZE"), ({"RANK": "one"}, "RANK")]
)
def test_more_trainers_or_no_number_raises_input_error_naming_the_variable(
    environment: dict[str, str], field: str
) -> None:
    with pytest.raises(InputError, match=field):
        place_from(environment)
