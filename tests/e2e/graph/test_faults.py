"""Whatever breaks, the message says what to do, and the same command then ends as it should."""

import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ptefoundry.cli.shared_store import hash_md5, object_name
from ptefoundry.stage_shell import SOCKET_VARIABLE
from support.clones import Clones, Machine, finish, take_lock
from support.expired_store import serve_expired
from support.relay import relay_to
from support.small_disk import SmallDisk, small_disk

MIB = 1 << 20
IMPATIENT = {"AWS_MAX_ATTEMPTS": "1"}
"""Without it the store is asked again for a minute."""
RUNNER = ("build", "--pull", "--only", "build-runner")
"""What brings 15 MiB in five files, and nothing else."""

MakeClone = Callable[[], Machine]


@pytest.fixture
def make_clone(clones: Clones, first: Machine, request: pytest.FixtureRequest) -> MakeClone:
    """Makes a machine that knows, by dvc.lock, what the first one has built and pushed."""

    def make() -> Machine:
        machine = clones.clone(request.node.name.replace("_", "-"))
        take_lock(first, machine)
        return machine

    return make


def _runner(root: Path) -> dict[str, str]:
    folder = root / "artifacts" / "runner"
    return {
        path.relative_to(folder).as_posix(): hash_md5(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def _on(disk: SmallDisk, machine: Machine) -> Machine:
    """The machine moved to a disk."""
    root = disk.folder / "clone"
    copy = ["cp", "-a", str(machine.root), str(root)]
    subprocess.run([*disk.command(disk.folder), *copy], check=True)
    # The tests' server of stages does not see that disk.
    own = {name: value for name, value in machine.environment.items() if name != SOCKET_VARIABLE}
    return replace(machine, root=root, enter=tuple(disk.command(root)), environment=own)


def test_full_disk_while_pulling_and_while_building(
    make_clone: MakeClone, first: Machine, tmp_path: Path
) -> None:
    with small_disk(tmp_path, 8 * MIB) as disk:
        machine = _on(disk, make_clone())
        refused = machine.run("build", "--pull", code=1).errors
        assert "no room on the disk" in refused
        assert "then run again" in refused
        disk.resize(200 * MIB)
        machine.run("build", "--pull")
        seen = replace(machine, root=disk.seen(machine.root))
        assert seen.files(measured=True) == first.files(measured=True)

        # The foundation is to be made anew, and there is room for nothing, or for half of it.
        foundation = seen.root / "artifacts" / "foundation" / "xnnpack" / "foundation.ptd"
        cached = seen.root / ".dvc" / "cache" / object_name(hash_md5(foundation))
        size = foundation.stat().st_size
        (seen.root / "artifacts" / "bundle" / "xnnpack" / "foundation.ptd").unlink()
        foundation.unlink()
        cached.unlink()
        for room, code in ((0, 1), (size // 2, 5)):
            disk.resize(disk.used() + room)
            refused = machine.run("build", code=code).errors
            assert "no room on the disk" in refused
            assert "then run again" in refused
        disk.resize(200 * MIB)
        machine.run("build")
        assert seen.files(measured=True) == first.files(measured=True)


def test_build_killed_in_the_middle_of_a_pull(
    clones: Clones, make_clone: MakeClone, first: Machine
) -> None:
    machine = make_clone()
    with relay_to(clones.url) as relay:
        slow = machine.changed(AWS_ENDPOINT_URL=relay.url)
        process = slow.start("build", "--pull", process_group=0)

        def kill(answers: int) -> None:
            if answers == 30:
                os.killpg(process.pid, signal.SIGKILL)

        relay.on_answer = kill
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = machine.run("build", "--pull", "--json")
    assert set(done.results.values()) <= {"cached", "unchanged"}
    assert machine.files(measured=True) == first.files(measured=True)


def test_damaged_local_cache(make_clone: MakeClone, first: Machine) -> None:
    """Among it an object that is also the file of the workspace and of the bundle."""
    machine = make_clone()
    machine.run("build", "--pull")
    foundation = machine.root / "artifacts" / "foundation" / "xnnpack" / "foundation.ptd"
    program = machine.root / "artifacts" / "link" / "xnnpack" / "red.pte"
    names = [object_name(hash_md5(path)) for path in (foundation, program)]
    foundation.chmod(0o644)
    with foundation.open("r+b") as file:
        file.seek(1000)
        file.write(b"altered")
    cut = machine.root / ".dvc" / "cache" / names[1]
    cut.chmod(0o644)
    os.truncate(cut, 1000)
    done = machine.run("build", "--json")
    assert done.ran == {"foundation@xnnpack", "link@xnnpack-red"}
    assert "dropped 2 altered files of DVC's cache" in done.errors
    for name in names:
        assert name in done.errors
    assert machine.files(measured=True) == first.files(measured=True)


def test_connection_lost_in_the_middle_of_a_pull(
    clones: Clones, make_clone: MakeClone, first: Machine
) -> None:
    machine = make_clone()
    with relay_to(clones.url) as relay:
        relay.cut_after = 6 * MIB
        refused = (
            machine.changed(AWS_ENDPOINT_URL=relay.url, **IMPATIENT).run(*RUNNER, code=4).errors
        )
    assert "could not be read" in refused
    assert "check the network and AWS_ENDPOINT_URL, then run again" in refused
    machine.run(*RUNNER)
    assert _runner(machine.root) == _runner(first.root)


def test_connection_lost_in_the_middle_of_a_push(
    clones: Clones, make_clone: MakeClone, first: Machine
) -> None:
    machine = make_clone()
    machine.run(*RUNNER)
    there = clones.clone("push-to", "another")
    (machine.root / ".dvc" / "config.local").write_bytes(
        (there.root / ".dvc" / "config.local").read_bytes()
    )
    push = ("build", "--push", "--only", "build-runner")
    with relay_to(clones.url) as relay:
        relay.cut_after = 6 * MIB
        refused = machine.changed(AWS_ENDPOINT_URL=relay.url, **IMPATIENT).run(*push, code=4).errors
    assert "could not be written" in refused
    assert "check the network and AWS_ENDPOINT_URL, then run again" in refused
    machine.run(*push)
    take_lock(first, there)
    there.run(*RUNNER)
    assert _runner(there.root) == _runner(first.root)


def test_expired_credentials(make_clone: MakeClone, first: Machine) -> None:
    machine = make_clone()
    with serve_expired() as url:
        expired = machine.changed(AWS_ENDPOINT_URL=url, AWS_SESSION_TOKEN="old")
        refused = expired.run(*RUNNER, code=4).errors
        assert "could not be read" in refused
        assert "log in again" in refused
        machine.run(*RUNNER)
        assert _runner(machine.root) == _runner(first.root)
        refused = expired.run("build", "--push", "--only", "build-runner", code=4).errors
        assert "log in again" in refused


def test_no_shared_cache(make_clone: MakeClone) -> None:
    machine = make_clone()
    config = machine.root / ".dvc" / "config"
    config.write_text(config.read_text().partition("['remote")[0].replace("remote = shared", ""))
    (machine.root / ".dvc" / "config.local").unlink()
    refused = finish(machine.start(*RUNNER), 2).errors
    assert "dvc remote add -d shared s3://" in refused
