"""Child processes that do not outlive the process that started them."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO


def start_child(
    argv: Sequence[str], output: IO[bytes], environment: Mapping[str, str], *, death_signal: signal.Signals | None
) -> subprocess.Popen[bytes]:
    """Starts `argv` as the leader of a session of its own, both outputs to `output`, no input.

    `death_signal` is sent to it when this process ends, see `dying_with_parent`; None: it lives on.
    """
    command = argv if death_signal is None else dying_with_parent(argv, death_signal)
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
    )


def dying_with_parent(argv: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """`argv` so that the kernel sends it the signal when its parent ends, by whatever means.

    Strictly: when the thread that started it ends, so start it from one that stays. Without
    setpriv (util-linux; other systems than Linux have none) it is `argv` itself, and lives on.
    """
    setpriv = shutil.which("setpriv")
    name = death_signal.name.removeprefix("SIG")
    return [setpriv, "--pdeathsig", name, "--", *argv] if setpriv else list(argv)
