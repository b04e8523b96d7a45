"""A joiner in a process of its own, to be killed: `python -m tests.support.joiner_process LOG STATE_DIR PREFIX`.

The topics are PREFIX-events, PREFIX-examples and PREFIX-dead-letters.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from streams.join.joiner import Joiner, JoinerConfig
from streams.join.partition import JoinTopics
from streams.log.event_log import open_log


def joiner_config(state_dir: Path, prefix: str) -> JoinerConfig:
    """Small steps, so that a kill finds many places to strike."""
    topics = JoinTopics(
        events=f"{prefix}-events", examples=f"{prefix}-examples", dead_letters=f"{prefix}-dead-letters", group=prefix
    )
    return JoinerConfig(state_dir=state_dir, topics=topics, max_records=20)


def main(address: str, state_dir: str, prefix: str) -> None:
    """Joins until it is killed."""
    Joiner(open_log(address), joiner_config(Path(state_dir), prefix)).run(threading.Event())


if __name__ == "__main__":
    main(*sys.argv[1:])
