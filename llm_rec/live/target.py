"""Where a recommender's versions go, and what its generations begin with."""

from __future__ import annotations

from llm_rec.live.learner import LiveLearner
from llm_rec.packed import pack_programs
from streams.contract.errors import FreshetError
from streams.contract.recommender import CATALOGUE, recommender_schema, unpack_items
from streams.log.event_log import RECOMMENDER_UPDATES, EventLog
from streams.store.row_store import RowStore
from streams.versions.commit import PublishTarget


def publish_target(
    learner: LiveLearner, log: EventLog, store: RowStore, *, new_generation: bool, promote: bool
) -> tuple[PublishTarget, int]:
    """(the target, how many items its generations' catalogue holds).

    A generation that is continued keeps the catalogue it began with, and one that takes its place has the same, so
    what travels as new items is behind it in either case.
    """
    programs = None if new_generation else _continued(learner, store)
    programs = programs or pack_programs(learner.recipe, learner.tables.models, learner.items.items)
    width = learner.dim - 1
    target = PublishTarget(
        log=log, store=store, schema=recommender_schema(width), network={"kind": "cllm4rec", "width": width},
        programs=programs, topic=RECOMMENDER_UPDATES, recipe=learner.recipe.name, new_generation=new_generation,
        promote=promote,
    )  # fmt: skip
    return target, len(unpack_items(programs[CATALOGUE]))


def _continued(learner: LiveLearner, store: RowStore) -> dict[str, bytes] | None:
    """The programs of the newest generation, where its catalogue is the beginning of the learner's."""
    kept = store.generations()
    if not kept:
        return None
    try:
        programs = store.programs(kept[-1])
        names = [item.name for item in unpack_items(programs[CATALOGUE])]
    except (FreshetError, KeyError):
        return None
    own = [item.name for item in learner.items.items[: len(names)]]
    return programs if names == own else None
