"""What a command in a container finds, and how it is stopped, with Docker and with Podman."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ptefoundry.container.engine import Engine, connect
from ptefoundry.container.job import Job, Mount, same_place
from ptefoundry.errors import ContainerError, MissingToolError
from support.container_engine import own_engine

BASE = Path(__file__).parents[3] / "base-image.tar"
PYTHON = ("python3", "-c")
CONNECT = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=3)"


@pytest.fixture(scope="module", params=["docker", "podman"])
def place(request: pytest.FixtureRequest) -> tuple[Engine, str]:
    """An engine, and the ID of an image with Python that it has."""
    names = ("podman", "podman_base") if request.param == "podman" else ("engine", "base")
    return request.getfixturevalue(names[0]), request.getfixturevalue(names[1])


def _job(script: str, folder: Path, **fields: object) -> Job:
    job = Job(
        command=(*PYTHON, script),
        folder=folder,
        purpose=f"test {folder}",
        mounts=(same_place(folder),),
        environment={"MARK": "set"},
    )
    return replace(job, **fields)  # type: ignore[arg-type]


def _run(engine: Engine, image: str, job: Job) -> tuple[int, list[str]]:
    with engine.running(image, job) as running:
        lines = list(running.lines())
        return running.wait(), lines


def _containers(engine: Engine, folder: Path) -> list[str]:
    filters = {"label": f"org.ptefoundry.job=test {folder}"}
    return [container["Id"] for container in engine.api.containers(all=True, filters=filters)]


def test_output_comes_line_by_line_with_the_exit_code(
    place: tuple[Engine, str], tmp_path: Path
) -> None:
    script = "import sys; print('one\\ntwo é'); sys.stderr.write('three'); sys.exit(5)"
    code, lines = _run(*place, _job(script, tmp_path))
    assert code == 5
    # Two streams have no order between them.
    assert sorted(lines) == ["one", "three", "two é"]
    assert _containers(place[0], tmp_path) == []


def test_files_belong_to_the_caller(place: tuple[Engine, str], tmp_path: Path) -> None:
    script = "import os; print(os.getcwd()); open('made', 'w').write('x')"
    assert _run(*place, _job(script, tmp_path)) == (0, [str(tmp_path)])
    made = (tmp_path / "made").stat()
    assert (made.st_uid, made.st_gid) == (os.getuid(), os.getgid())


def test_caller_may_be_anybody(
    place: tuple[Engine, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    os.chown(tmp_path, 12345, 23456)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    monkeypatch.setattr(os, "getgid", lambda: 23456)
    script = "import os; print(os.getuid(), os.getgid()); open('made', 'w')"
    assert _run(*place, _job(script, tmp_path)) == (0, ["12345 23456"])
    made = (tmp_path / "made").stat()
    assert (made.st_uid, made.st_gid) == (12345, 23456)


def test_mounts_may_be_read_only_and_elsewhere(place: tuple[Engine, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    mount = Mount(source=tmp_path, target=Path("/elsewhere"), read_only=True)
    script = "print(open('/elsewhere/file').read()); open('/elsewhere/new', 'w')"
    job = _job(script, Path("/"), mounts=(mount,), purpose=f"test {tmp_path}")
    code, lines = _run(*place, job)
    assert code == 1
    assert "content" in lines
    assert any("Read-only file system" in line for line in lines)


def test_environment_is_what_the_job_says(place: tuple[Engine, str], tmp_path: Path) -> None:
    script = "import os, socket; print(sorted(os.environ), socket.gethostname())"
    job = _job(script, tmp_path, hostname="elsewhere")
    code, (line,) = _run(*place, job)
    assert code == 0
    assert "'MARK'" in line
    assert "PYTEST" not in line
    assert line.endswith("elsewhere")


def test_there_is_no_network_unless_asked_for(place: tuple[Engine, str], tmp_path: Path) -> None:
    code, lines = _run(*place, _job(CONNECT, tmp_path))
    assert code == 1
    assert "Network is unreachable" in lines[-1]


WAITING = "import time; print('started', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {WAITING}"


def test_leaving_the_block_interrupts(place: tuple[Engine, str], tmp_path: Path) -> None:
    script = f"""
try:
    {WAITING}
except KeyboardInterrupt:
    open('interrupted', 'w')
"""
    with place[0].running(place[1], _job(script, tmp_path)) as running:
        assert next(running.lines()) == "started"
    assert (tmp_path / "interrupted").is_file()
    assert _containers(place[0], tmp_path) == []


def test_second_interrupt_insists(engine: Engine, base: str, tmp_path: Path) -> None:
    """A command that ignores the first one has half a minute, unless the user insists."""
    begun = time.monotonic()
    with engine.running(base, _job(STUBBORN, tmp_path)) as running:
        assert next(running.lines()) == "started"
        threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()
    assert time.monotonic() - begun < 25
    assert _containers(engine, tmp_path) == []


def test_job_whose_process_was_killed_can_be_removed(
    place: tuple[Engine, str], tmp_path: Path
) -> None:
    job = _job(WAITING, tmp_path)
    engine, image = place
    container = engine._create(image, job)
    engine.api.start(container)
    assert _containers(place[0], tmp_path) == [container]
    engine.remove_jobs(f"test {tmp_path / 'other'}")
    assert _containers(place[0], tmp_path) == [container]
    engine.remove_jobs(job.purpose)
    assert _containers(place[0], tmp_path) == []


def test_unknown_image_and_missing_folder_are_told(
    place: tuple[Engine, str], tmp_path: Path
) -> None:
    with pytest.raises(ContainerError, match=r"refuses: .*no-such-image"):
        _run(place[0], "no-such-image", _job("", tmp_path))
    with pytest.raises(ContainerError, match=r"missing: expected a file or folder"):
        _run(*place, _job("", tmp_path / "missing"))
    assert not (tmp_path / "missing").exists()


def test_odd_names_are_mounted(place: tuple[Engine, str], tmp_path: Path) -> None:
    script = "import os; print(os.getcwd()); open('made', 'w')"
    for name in ("spaces and ümläute", "co:lon", "back\\slash"):
        folder = tmp_path / name
        folder.mkdir()
        assert _run(*place, _job(script, folder)) == (0, [str(folder)])
        assert (folder / "made").is_file()


def test_a_comma_is_more_than_podman_can_mount(
    engine: Engine, base: str, podman: Engine, podman_base: str, tmp_path: Path
) -> None:
    folder = tmp_path / "one, two"
    folder.mkdir()
    assert _run(engine, base, _job("print('well')", folder)) == (0, ["well"])
    with pytest.raises(ContainerError, match="Podman can mount, found one with a comma"):
        _run(podman, podman_base, _job("", folder))


def _run_until(engine: Engine, image: str, job: Job, then: Callable[[], None]) -> None:
    """Run a job, and do something once it has printed a line."""
    with engine.running(image, job) as running:
        for line in running.lines():
            assert line == "started"
            then()
        running.wait()


def test_engine_that_crashes_is_told_and_can_be_used_again(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine of its own: nothing that somebody else's containers need is killed."""
    # Where there is one, others can be started.
    engine.api.ping()
    if shutil.which("dockerd") is None:
        pytest.skip("dockerd is not installed")
    if os.geteuid() != 0 or not BASE.is_file():
        pytest.skip(f"only root may start an engine, and {BASE.name} is needed")
    with own_engine() as own:
        monkeypatch.setenv("DOCKER_HOST", own.address)
        with connect() as connected, BASE.open("rb") as file:
            connected.api.import_image_from_data(file, repository="base")
            with pytest.raises(ContainerError) as lost:
                _run_until(connected, "base", _job(WAITING, tmp_path), own.kill)
        assert "does not answer any more" in str(lost.value)
        assert "run the same command again" in str(lost.value)
        with pytest.raises(MissingToolError, match="no container engine answers"):
            connect()
        own.start()
        with connect() as again:
            again.remove_jobs(f"test {tmp_path}")
            assert _containers(again, tmp_path) == []
            assert _run(again, "base", _job("print('well')", tmp_path)) == (0, ["well"])
