import os
from pathlib import Path
from threading import Barrier, Event

import pytest

from ptefoundry.cli.rebuild_at_once import at_once, has_room
from ptefoundry.errors import BuildError, ContainerError

GIB = 1 << 30


def test_builds_run_at_the_same_time_and_come_in_order() -> None:
    together = Barrier(2, timeout=60)
    builds = [lambda: f"one {together.wait() >= 0}", lambda: f"two {together.wait() >= 0}"]
    assert at_once(builds, lambda: None) == ["one True", "two True"]


def test_a_build_that_fails_stops_the_other() -> None:
    stopped = Event()

    def fail() -> str:
        raise BuildError("stage compile@xnnpack failed")

    def go_on() -> str:
        assert stopped.wait(60)
        raise ContainerError("the container is gone")

    with pytest.raises(BuildError, match="compile@xnnpack"):
        at_once([go_on, fail], stopped.set)
    assert stopped.is_set()


def test_an_engine_that_is_lost_while_stopping_does_not_hide_why() -> None:
    tried = Event()

    def stop() -> None:
        tried.set()
        raise ContainerError("the container engine does not answer any more")

    def fail() -> None:
        raise BuildError("first")

    def go_on() -> None:
        assert tried.wait(60)

    with pytest.raises(BuildError, match="first"):
        at_once([fail, go_on], stop)


def test_room_is_a_processor_and_memory_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "meminfo"
    memory.write_text(f"MemTotal: 99 kB\nMemAvailable:   {14 * GIB >> 10} kB\n")
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert has_room(2, GIB, memory=memory)
    assert not has_room(2, 2 * GIB, memory=memory)
    assert not has_room(2, 0, memory=tmp_path / "missing")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert not has_room(2, GIB, memory=memory)
