"""gc, fsck and mirror on stores as they are: a folder, S3 and a web server."""

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ptefoundry.cli.main import app
from ptefoundry.errors import ConfigError, FoundryError, StoreError, VerificationError
from ptefoundry.registry.cache import BlobCache
from ptefoundry.registry.content import blob_of
from ptefoundry.registry.fsck import check_registry
from ptefoundry.registry.gc import collect
from ptefoundry.registry.mirror import mirror
from ptefoundry.registry.names import BLOBS, CONDEMNED, blob_key
from ptefoundry.registry.oci import INDEX_TYPE, Descriptor
from ptefoundry.registry.referrers import Attachment, attach
from ptefoundry.registry.refs import find_ref, list_refs
from ptefoundry.registry.registry import init_registry
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.store.s3 import S3Store
from ptefoundry.registry.undelete import undelete
from support.golden_registry import GOLDEN
from support.packed import NAME
from support.sides import BUCKET
from support.static_server import serve_folder

HOUR = 3600.0
GRACE = 3 * HOUR


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A registry that has everything of the golden one."""
    store = FileStore(tmp_path / "registry")
    init_registry(store)
    invoke("mirror", f"file:{GOLDEN}", store.url)
    return store.url


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, FoundryError):
        raise result.exception
    assert result.exception is None, result.exception
    return result


def keys(store: Store) -> list[str]:
    return [info.key for info in store.list("")]


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        found: Store = request.getfixturevalue("s3_store")
    else:
        found = FileStore(tmp_path / "other")
    init_registry(found)
    return found


def test_a_registry_goes_through_all_stores(store: Store, folder: str, tmp_path: Path) -> None:
    url = f"s3://{BUCKET}/{store.url.partition(BUCKET + '/')[2]}"
    url = url if isinstance(store, S3Store) else store.url
    copied = json.loads(invoke("mirror", folder, url, "--json").stdout)
    assert copied["versions"] == [f"{NAME}@1.0.0", f"{NAME}@1.1.0"]
    assert "0 bytes in 0 blobs sent" in invoke("mirror", folder, url).stdout
    assert json.loads(invoke("fsck", url, "--deep", "--json").stdout)["sound"]
    with serve_folder(GOLDEN) as server:
        again = json.loads(invoke("mirror", server.url, url, f"{NAME}:stable", "--json").stdout)
    assert (again["versions"], again["channels"]) == ([], {f"{NAME}:stable": 0})


def test_garbage_is_collected(store: Store, tmp_path: Path) -> None:
    """The clock is in the future: what a store has just been given is old then."""
    cache = BlobCache(tmp_path / "cache")
    mirror(FileStore(GOLDEN), store, policy=None, cache=cache, clock=time.time)
    garbage = [blob_of(f"garbage {number}".encode()) for number in range(40)]
    for blob in garbage:
        assert isinstance(blob.content, bytes)
        store.create(blob_key(blob.digest), blob.content)
    attachment = Attachment(artifact_type="x/y", media_type="x/y", files={"bill": b"bill"})
    subject = find_ref(store, NAME, "1.1.0")
    index = Descriptor(media_type=INDEX_TYPE, digest=subject.digest, size=subject.size)
    attach(store, index, [attachment], clock=time.time)
    now = time.time()

    def run(hours: float) -> dict[str, int]:
        done = collect(store, keep=None, grace_s=GRACE, clock=lambda: now + hours * HOUR)
        return {outcome: tally.blobs for outcome, tally in done.blobs.items()}

    used = run(0).pop("used")
    assert run(4) == {"used": used, "condemned": 40}
    assert undelete(store, clock=lambda: now + 5 * HOUR).blobs == 40
    assert run(5) == {"used": used, "rescued": 40}
    assert run(6) == {"used": used, "condemned": 40}
    # Tombstones count from when the store got them, which is not in the future.
    assert run(10) == {"used": used, "deleted": 40}
    assert len(list(store.list(BLOBS))) == used
    assert list(store.list(CONDEMNED)) == []
    assert check_registry(store, deep=True).findings == []


def test_gc_says_what_it_does(folder: str) -> None:
    for key in ("beta.json", "beta/00000001.json"):
        FileStore(Path(folder.removeprefix("file:"))).delete(f"channels/{NAME}/{key}")
    shown = invoke("gc", folder, "--remove", f"{NAME}@1.1.0", "--dry-run")
    assert f"{NAME}@1.1.0 is given up" in shown.stdout
    assert "nothing was changed" in shown.stderr
    store = FileStore(Path(folder.removeprefix("file:")))
    assert not any(ref.removed for ref in list_refs(store))
    done = json.loads(invoke("gc", folder, "--keep", "1", "--grace", "7d", "--json").stdout)
    assert (done["removed"], done["dry_run"]) == ([], False)
    assert done["blobs"]["used"]["blobs"] == len(list(store.list(BLOBS)))
    invoke("gc", folder, "--remove", f"{NAME}@1.1.0")
    assert find_ref(store, NAME, "1.1.0").removed is not None
    assert f"{NAME}@1.1.0 is back" in invoke("gc", folder, "--undo").stdout
    assert find_ref(store, NAME, "1.1.0").removed is None


def test_channels_and_options_that_contradict_are_respected(folder: str) -> None:
    with pytest.raises(FoundryError, match="beta; promote another one first"):
        invoke("gc", folder, "--remove", f"{NAME}@1.1.0")
    assert "0 blobs are no longer noted as garbage" in invoke("gc", folder, "--undo").stdout
    with pytest.raises(ConfigError, match="--undo"):
        invoke("gc", folder, "--undo", "--dry-run")


@pytest.mark.parametrize("grace", ["72", "3 h", "h", "-1h", "1w"])
def test_durations_are_explained(folder: str, grace: str) -> None:
    with pytest.raises(ConfigError, match="--grace: expected a duration such as 30m, 72h or 7d"):
        invoke("gc", folder, f"--grace={grace}")


def test_a_short_grace_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="expected at least 7200 s, found 1800"):
        invoke("gc", folder, "--grace", "30m")


def test_fsck_exits_with_6_and_says_what_to_do(folder: str) -> None:
    assert "2 versions, 2 channels" in invoke("fsck", folder).stdout
    store = FileStore(Path(folder.removeprefix("file:")))
    key = max(store.list(BLOBS), key=lambda info: info.size).key
    store.delete(key)
    store.delete("index.json")
    with pytest.raises(VerificationError, match="found 3 faults") as raised:
        invoke("fsck", folder, "--deep")
    assert raised.value.exit_code == 6
    result = CliRunner().invoke(app, ["fsck", folder, "--repair"])
    assert f"{key}: missing" in result.stdout
    assert "repaired" in result.stdout
    invoke("mirror", f"file:{GOLDEN}", folder)
    assert json.loads(invoke("fsck", folder, "--deep", "--json").stdout)["findings"] == []


def test_a_web_server_is_only_read(folder: str) -> None:
    with serve_folder(GOLDEN) as server:
        for command in (["gc", server.url], ["fsck", server.url], ["mirror", folder, server.url]):
            with pytest.raises(StoreError):
                invoke(*command)
