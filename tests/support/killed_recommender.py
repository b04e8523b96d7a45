"""A process that trains a recommender and is killed in the midst: `python -m ... FOLDER MESSAGE`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from llm_rec.cllm4rec import CLLM4Rec
from tests.support.two_communities import SHORT, coloured, two_communities


def main(folder: Path, fatal: str) -> None:
    """Trains in the folder and dies by SIGKILL when it tells something that begins with `fatal`."""

    def die(message: str) -> None:
        if message.startswith(fatal):
            os.kill(os.getpid(), signal.SIGKILL)

    CLLM4Rec(SHORT, folder=folder, tell=die).fit(two_communities(), coloured(), seed=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
