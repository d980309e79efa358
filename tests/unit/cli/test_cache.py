import json

import pytest
from typer.testing import CliRunner, Result

from ptefoundry.cli.main import app
from ptefoundry.errors import ConfigError, FoundryError, VerificationError
from ptefoundry.registry.cache import user_cache
from ptefoundry.registry.download import WantedBlob
from ptefoundry.registry.fetch import fetch_blobs
from ptefoundry.registry.store.memory import MemoryStore
from support.blobs import put_blob


def _invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["cache", *arguments])
    if isinstance(result.exception, FoundryError):
        raise result.exception
    return result


@pytest.fixture
def blobs() -> list[WantedBlob]:
    store = MemoryStore()
    blobs = [put_blob(store, b"x" * 2000), put_blob(store, b"y" * 500)]
    fetch_blobs(store, blobs, user_cache())
    return blobs


def test_ls_lists_blobs(blobs: list[WantedBlob]) -> None:
    listed = json.loads(_invoke("ls", "--json").stdout)
    assert {row["digest"]: row["size"] for row in listed} == {
        blob.digest: blob.size for blob in blobs
    }
    text = _invoke("ls").stdout
    assert all(blob.digest in text for blob in blobs)
    assert "2 blobs, 2,500 bytes" in text


def test_ls_of_a_cache_that_is_not_there() -> None:
    assert "0 blobs, 0 bytes" in _invoke("ls").stdout


def test_verify_names_and_drops_altered_blobs(blobs: list[WantedBlob]) -> None:
    assert _invoke("verify").stdout == "2 blobs, 0 altered\n"
    path = user_cache().path(blobs[0].digest)
    path.chmod(0o644)
    path.write_bytes(b"z" * 2000)
    with pytest.raises(VerificationError, match=blobs[0].digest):
        _invoke("verify", "--json")
    assert json.loads(_invoke("verify", "--json").stdout) == {"blobs": 1, "altered": []}


@pytest.mark.parametrize(
    ("size", "kept"), [("0", 0), ("1k", 500), ("0.6 KiB", 500), ("2500", 2500), ("20G", 2500)]
)
def test_prune_keeps_no_more_than_the_size(
    blobs: list[WantedBlob], size: str, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was used a moment ago counts as in use.
    monkeypatch.setattr("ptefoundry.registry.prune._CLOCK_STEP_S", -10.0)
    user_cache().take(blobs[1].digest, blobs[1].size)
    assert json.loads(_invoke("prune", "--max-size", size, "--json").stdout)["kept"] == kept


def test_prune_says_what_it_did(blobs: list[WantedBlob]) -> None:
    assert _invoke("prune", "--max-size", "1G").stdout == (
        "dropped 0 blobs and 0 abandoned downloads, 0 B; 2.4 KiB are left\n"
    )


@pytest.mark.parametrize("size", ["", "-1", "20X", "lots"])
def test_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(ConfigError, match=f"--max-size: .*found {size!r}"):
        _invoke("prune", "--max-size", size)
