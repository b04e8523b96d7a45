"""What was recommended, as an event like any other impression: its clicks join, and both models learn from them."""

from __future__ import annotations

from dataclasses import dataclass

from serving.gateway.arms import Recommended
from serving.gateway.recommend_bodies import RecommendBody
from streams.contract.events import Impression


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One answered recommendation."""

    request: RecommendBody
    request_id: str
    recommended: Recommended
    keeps_ad_id: bool
    ingest_ms: int

    def impression(self) -> Impression:
        """The items in the order in which they were answered.

        `version` and `generation` are those of the model that put them in order; probabilities are the click
        model's alone, for what a recommender gives is none of a click.
        """
        request, given = self.request, self.recommended
        return Impression(
            event_id=self.request_id,
            event_time_ms=self.ingest_ms if request.event_time_ms is None else request.event_time_ms,
            session_id=request.session_id or request.unit_id,
            unit_id=request.unit_id,
            ad_ids=given.items,
            user=request.user,
            context=request.context,
            candidates={n: column for n, column in given.columns.items() if n != "ad_id" or self.keeps_ad_id},
            arm=request.arm,
            version=given.version,
            generation=given.generation,
            positions=list(range(len(given.items))),
            probabilities=None if given.probabilities is None else given.probabilities.tolist(),
            flags=list(given.flags),
            ingest_ms=self.ingest_ms,
            extra=self._origin(),
        )

    def _origin(self) -> dict[str, str | int | None]:
        given = self.recommended
        return {
            "answered_by": given.answered_by,
            "recommender_version": given.recommender_version,
            "recommender_generation": given.recommender_generation,
        }
