"""The networks here are as small as those of the mixing of rounds."""

from tests.trainer.future.conftest import one_thread

__all__ = ["one_thread"]
