"""Events in short, the join over them in memory, and its output flattened to what must not change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streams.contract.columns import to_values
from streams.contract.encoding import encode_event
from streams.contract.events import Event, Feedback, Impression, Tick
from streams.contract.examples import ExampleBatch, Mark, decode_examples
from streams.join.config import JoinConfig
from streams.join.dead_letters import DeadLetter
from streams.join.join import Join
from streams.join.output import JoinOutput
from streams.join.state import JoinState
from streams.join.stats import JoinStats
from streams.join.store import JoinStore
from streams.log.event_log import Record, TopicPartition

SOURCE = TopicPartition("events", 0)
SHORT = JoinConfig(windows_ms={"click": 10}, correction_horizon_ms=30)
"""Windows of 10 ms, remembered for 40, ids and early feedback for 40 and 30."""


def impression(event_id: str, event_time_ms: int, ads: str = "ab", **fields: Any) -> Impression:
    """An impression of one-letter ads."""
    given = {"session_id": "s", "unit_id": "u", "ad_ids": list(ads), "ingest_ms": 1000 + event_time_ms}
    return Impression(event_id=event_id, event_time_ms=event_time_ms, **{**given, **fields})


def click(of: str, ad_id: str, event_time_ms: int, **fields: Any) -> Feedback:
    """Feedback whose id follows from what it says, unless one is given."""
    given = {"event_id": f"{of}-{ad_id}-{event_time_ms}", "session_id": "s", "ingest_ms": 1000 + event_time_ms}
    return Feedback(impression_id=of, ad_id=ad_id, event_time_ms=event_time_ms, **{**given, **fields})


def tick(event_id: str, event_time_ms: int | None = None, *, final: bool = False) -> Tick:
    """A tick."""
    return Tick(event_id=event_id, event_time_ms=event_time_ms, final=final)


def records_of(events: Iterable[Event | bytes]) -> list[Record]:
    """The events as records of one partition; bytes stand for themselves."""
    values = [event if isinstance(event, bytes) else encode_event(event) for event in events]
    return [Record(SOURCE, offset, None, value, 0) for offset, value in enumerate(values)]


class MemoryJoin:
    """A join over a state in memory that can be crashed, restarted and asked for all it emitted."""

    def __init__(self, config: JoinConfig = SHORT, *, record_bytes: int = 500_000) -> None:
        self.records: list[bytes] = []
        self.letters: list[DeadLetter] = []
        self.stats = JoinStats()
        self._config = config
        self._record_bytes = record_bytes
        self._store = JoinStore.open(None)
        self.restart()

    def restart(self) -> None:
        """Forgets all but what was committed."""
        self.state = JoinState(self._store, self._config, SOURCE)
        self._join = Join(self._config, self.state)

    def step(self, records: Sequence[Record]) -> None:
        """One poll: apply, take the output, commit the state."""
        self.apply(records, JoinOutput(self._record_bytes))
        self.commit(records)

    def apply(self, records: Sequence[Record], out: JoinOutput) -> None:
        """Applies the records and keeps what `out` got of it."""
        self._join.apply(records, out)
        out.flush()
        self.records += out.records
        self.letters += out.dead_letters
        self.stats.add(out.stats)

    def commit(self, records: Sequence[Record]) -> None:
        """Commits the state behind the records."""
        if records:
            self.state.commit(records[-1].offset + 1, last_offset=records[-1].offset, last_digest=0)

    @property
    def output(self) -> list[dict[str, Any]]:
        """Every example and mark so far."""
        return flatten(self.records)

    @property
    def brief(self) -> list[str]:
        """The output in short: `i1/a=1`, `i1/a=1!` for a correction, `|` for a mark, `||` for the final one."""
        return [_brief(item) for item in self.output]


def join_events(events: Iterable[Event | bytes], config: JoinConfig = SHORT) -> MemoryJoin:
    """The join after all of the events in one step."""
    join = MemoryJoin(config)
    join.step(records_of(events))
    return join


def flatten(records: Iterable[bytes]) -> list[dict[str, Any]]:
    """One dict an example or mark, in order: what must not depend on where records end."""
    items: list[dict[str, Any]] = []
    for record in records:
        decoded = decode_examples(record)
        if isinstance(decoded, Mark):
            items.append({"mark": True, "final": decoded.final, "ingest_ms": decoded.ingest_ms})
        else:
            items.extend(_examples(decoded))
    return items


_PER_REQUEST = ("impression_id", "unit_id", "session_id", "arm", "version", "generation", "event_time_ms")
_PER_EXAMPLE = (
    "ad_id", "position", "label", "weight", "predicted", "propensity", "true_probability", "value", "delay_ms",
    "decided_ingest_ms", "decided_time_ms", "correction",
)  # fmt: skip


def _examples(batch: ExampleBatch) -> list[dict[str, Any]]:
    requests = {name: to_values(getattr(batch, name)) for name in _PER_REQUEST}
    requests |= {f"request.{name}": to_values(column) for name, column in batch.request.items()}
    examples = {name: to_values(getattr(batch, name)) for name in _PER_EXAMPLE}
    examples |= {f"candidate.{name}": to_values(column) for name, column in batch.candidate.items()}
    out = []
    for row, request in enumerate(batch.request_index.tolist()):
        fields = {name: values[request] for name, values in requests.items()}
        fields |= {name: values[row] for name, values in examples.items()}
        # A feature that a batch-mate has and this one lacks is None there: the same as absent.
        known = {name: repr(value) for name, value in fields.items() if value is not None}
        out.append({"kind": batch.kind, "key": (fields["impression_id"], fields["ad_id"], batch.kind), **known})
    return out


def _brief(item: dict[str, Any]) -> str:
    if "mark" in item:
        return "||" if item["final"] else "|"
    of, ad, kind = item["key"]
    suffix = "" if kind == "click" else f":{kind}"
    return f"{of}/{ad}{suffix}={item['label'][0]}{'!' if item['correction'] == 'True' else ''}"
