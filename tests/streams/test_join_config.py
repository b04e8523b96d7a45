"""Windows and horizons that make sense."""

from __future__ import annotations

from typing import Any

import pytest

from streams.contract.errors import InputError
from streams.join.config import JoinConfig


def test_horizons_follow_from_the_windows() -> None:
    config = JoinConfig(windows_ms={"view": 5, "click": 10}, correction_horizon_ms=100)
    assert (config.kinds, config.remember_ms, config.hold_ms, config.dedup_ms) == (("click", "view"), 110, 100, 110)


def test_windows_text_tells_windows_apart_whatever_their_order() -> None:
    one, other = {"view": 5, "click": 10}, {"click": 10, "view": 5}
    assert JoinConfig(windows_ms=one).windows_text == JoinConfig(windows_ms=other).windows_text
    assert JoinConfig(windows_ms=one).windows_text != JoinConfig(windows_ms={"view": 5}).windows_text


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("windows_ms", {"windows_ms": {}}),
        ("windows_ms.click", {"windows_ms": {"click": 0}}),
        ("windows_ms.click", {"windows_ms": {"click": 2**60}}),
        ("correction_horizon_ms", {"correction_horizon_ms": -1}),
        ("hold_horizon_ms", {"hold_horizon_ms": -1}),
        ("dedup_horizon_ms", {"dedup_horizon_ms": 86_400_000}),
        ("max_held", {"max_held": -1}),
        ("cached_bytes", {"cached_bytes": -1}),
    ],
)
def test_value_that_makes_no_sense_raises_input_error_naming_it(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        JoinConfig(**given)
    assert caught.value.field == field
    assert caught.value.remedy
