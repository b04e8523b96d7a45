from __future__ import annotations

import threading

from streams.log.per_thread import PerThread


def test_thread_gets_its_own_resource_and_keeps_it() -> None:
    resources = PerThread(object, lambda _: None)
    theirs: list[object] = []
    thread = threading.Thread(target=lambda: theirs.append(resources.get()))
    thread.start()
    thread.join()
    assert resources.get() is resources.get()
    assert resources.get() is not theirs[0]


def test_resources_of_ended_threads_are_freed_as_others_come() -> None:
    freed: list[object] = []
    resources = PerThread(object, freed.append)
    for _ in range(20):
        thread = threading.Thread(target=resources.get)
        thread.start()
        thread.join()
    mine = resources.get()
    assert len(resources._items) == 1
    assert mine not in freed


def test_close_frees_every_resource() -> None:
    freed: list[object] = []
    resources = PerThread(object, freed.append)
    mine = resources.get()
    resources.close()
    assert freed == [mine]
