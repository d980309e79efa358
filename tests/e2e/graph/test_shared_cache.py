"""What one machine has built another takes from a store, and trusts nothing in it."""

import hashlib
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ptefoundry import s3
from ptefoundry.cli.shared_runs import read_run
from ptefoundry.cli.shared_store import hash_md5, object_name
from support.clones import (
    BUCKET,
    Clones,
    Done,
    Machine,
    copy_prefix,
    keys_below,
    take_lock,
)
from support.disk_use import disk_use, inodes_with

PREFIX = "cache"
FOUNDATION = "foundation/xnnpack/foundation.ptd"


@pytest.fixture
def damaged(first: Machine, request: pytest.FixtureRequest) -> str:
    """A prefix of the bucket with what the first machine gave, to be damaged."""
    prefix = request.node.name.replace("_", "-")
    copy_prefix(f"{PREFIX}/", f"{prefix}/")
    return prefix


def _object(machine: Machine, output: str) -> str:
    """The object that a file of the artifacts is in the store."""
    return object_name(_md5(machine, output))


def _md5(machine: Machine, output: str) -> str:
    return hash_md5(machine.root / "artifacts" / output)


def _read(key: str) -> bytes:
    content: bytes = s3.connect().get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return content


def _write(key: str, content: bytes) -> None:
    s3.connect().put_object(Bucket=BUCKET, Key=key, Body=content)


def _flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _run_that_made(prefix: str, name: str) -> str:
    """The only note in the store of a run that made a file or folder of the artifacts."""
    line = f"- path: artifacts/{name}\n".encode()
    notes = keys_below(f"{prefix}/runs/")
    (key,) = (key for key in notes if line in _read(key).partition(b"\nouts:\n")[2])
    return key


def _list_of(prefix: str, name: str) -> str:
    """The list of a folder of the artifacts in the store."""
    outs = YAML(typ="safe").load(_read(_run_that_made(prefix, name)))["outs"]
    return f"{prefix}/{object_name(outs[0]['md5'])}"


def _is_right(key: str, content: bytes) -> bool:
    """Whether a file of a store is what its name says."""
    name = key[key.index("/") + 1 :]
    if name.startswith("runs/"):
        return read_run(name, content) is not None
    return object_name(hashlib.md5(content).hexdigest()) == name.removesuffix(".dir")


def _mends(clones: Clones, machine: Machine, prefix: str) -> None:
    """A push of `machine` leaves nothing for the next one to build or to be warned of."""
    assert "shared cache: sent " in machine.run("build", "--push").errors
    assert not {name for name in keys_below(f"{prefix}/") if not _is_right(name, _read(name))}
    after = clones.clone(f"{prefix}-after", prefix)
    done = after.run("build", "--pull", "--json")
    assert set(done.results.values()) == {"cached"}
    assert "damaged" not in done.errors
    assert "gone" not in done.errors
    assert after.files(measured=True) == machine.files(measured=True)
    assert "sent 0 bytes in 0 files" in after.run("build", "--push").errors


@pytest.fixture(scope="module")
def pulled(clones: Clones, first: Machine) -> tuple[Machine, Done]:
    """A second clone, and its only build."""
    machine = clones.clone("second")
    return machine, machine.run("build", "--pull", "--json")


def test_a_second_clone_runs_nothing_and_has_the_same_bytes(
    pulled: tuple[Machine, Done], first: Machine
) -> None:
    second, done = pulled
    assert len(done.results) == 19
    assert set(done.results.values()) == {"cached"}
    assert second.files(measured=True) == first.files(measured=True)
    assert (second.root / "dvc.lock").read_bytes() == (first.root / "dvc.lock").read_bytes()
    plan = json.loads(second.run("plan", "--json").output)
    assert not [stage for stage in plan["stages"] if stage["would_run"]]
    assert "sent 0 bytes in 0 files" in second.run("build", "--push").errors


def test_the_foundation_is_on_disk_once(
    pulled: tuple[Machine, Done], first: Machine, shared_cache: Path
) -> None:
    """In the stage's output, the bundle, DVC's cache and what ptefoundry has downloaded."""
    second, _ = pulled
    for machine, caches in ((second, ()), (first, (shared_cache,))):
        content = (machine.root / "artifacts" / FOUNDATION).read_bytes()
        bundled = machine.root / "artifacts" / "bundle" / "xnnpack" / "foundation.ptd"
        (inode,) = inodes_with(content, machine.root, *caches)
        assert bundled.stat().st_ino == inode
        assert bundled.stat().st_nlink >= 3
    whole = disk_use(second.root / "artifacts", second.root / ".dvc", second.root / ".downloads")
    assert whole.once < 0.6 * whole.naive


def test_what_was_built_here_before_is_not_taken_for_what_another_built(
    clones: Clones, damaged: str
) -> None:
    """Both had built the same, and then got the same other adapter; one has given its build."""
    here, elsewhere = (clones.clone(f"{damaged}-{name}", damaged) for name in ("here", "there"))
    only = ("--only", "convert-adapter@red", "--json")
    for machine in (here, elsewhere):
        assert not machine.run("build", "--pull", *only).ran
    before = _converted(here)
    for machine in (here, elsewhere):
        config = machine.root / "models" / "red" / "adapter_config.json"
        config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 32'))
    chain = {"fetch-adapter@red", "convert-adapter@red"}
    assert elsewhere.run("build", "--push", *only).ran == chain
    done = here.run("build", "--pull", *only)
    assert {name for name, result in done.results.items() if result == "cached"} == chain
    assert not done.ran
    assert _converted(here) == _converted(elsewhere) != before


def _converted(machine: Machine) -> dict[str, bytes]:
    folder = machine.root / "artifacts" / "adapters" / "canonical" / "red"
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_with_the_record_of_a_build_only_what_is_lost_is_built(
    clones: Clones, first: Machine, damaged: str
) -> None:
    gone, cut = _object(first, FOUNDATION), _object(first, "link/xnnpack/red.pte")
    s3.connect().delete_object(Bucket=BUCKET, Key=f"{damaged}/{gone}")
    _write(f"{damaged}/{cut}", _read(f"{damaged}/{cut}")[:1000])
    machine = clones.clone(damaged, damaged)
    take_lock(first, machine)
    done = machine.run("build", "--pull", "--json")
    assert done.ran == {"foundation@xnnpack", "link@xnnpack-red"}
    assert gone in done.errors
    assert cut in done.errors
    assert machine.files(measured=True) == first.files(measured=True)


def test_what_is_gone_cut_or_altered_is_built_again_and_mended(
    clones: Clones, first: Machine, damaged: str
) -> None:
    """Each of another stage, none of which comes before another."""
    red, blue = (_md5(first, f"link/xnnpack/{name}.pte") for name in ("red", "blue"))
    gone, cut = _object(first, "smoke/xnnpack/base/metrics.json"), object_name(red)
    s3.connect().delete_object(Bucket=BUCKET, Key=f"{damaged}/{gone}")
    _write(f"{damaged}/{cut}", _read(f"{damaged}/{cut}")[:1000])
    altered = _object(first, "reference/red/reference.json")
    _write(f"{damaged}/{altered}", _flipped(_read(f"{damaged}/{altered}")))
    # It would give one adapter's program the other's name.
    run = _run_that_made(damaged, "link/xnnpack/blue.pte")
    _write(run, _read(run).replace(blue.encode(), red.encode()))
    cut_run = _run_that_made(damaged, "reference/blue")
    _write(cut_run, _read(cut_run)[:200])
    folder = _list_of(damaged, "reference/base")
    _write(folder, _flipped(_read(folder)))

    machine = clones.clone(damaged, damaged)
    done = machine.run("build", "--pull", "--json")
    smoke = {"smoke-base@xnnpack", "smoke@xnnpack-red", "smoke@xnnpack-blue"}
    references = {"reference-base", "reference@red", "reference@blue"}
    assert done.ran == references | smoke | {"link@xnnpack-red", "link@xnnpack-blue", "bundle"}
    for key in (run, cut_run, folder):
        assert key.removeprefix(f"{damaged}/") in done.errors
    for name in (cut, altered):
        assert name in done.errors
    assert "`ptefoundry build --push` mends it" in done.errors
    assert machine.files() == first.files()
    _mends(clones, machine, damaged)
