import hashlib
from pathlib import Path

import pytest

from ptefoundry.base.sources import ADAPTER_FILES, BASE_FILES, FetchedSource, Wanted, fetch
from ptefoundry.errors import ConfigError, DigestMismatchError, SourceError

WHERE = "params.yaml: base.source"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "workspace"
    base = root / "models" / "base"
    (base / "original").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "train.log", "original/params.json"):
        (base / name).write_text(name)
    return root


def fetch_file(
    root: Path, path: str, *, digest: str | None = None, wanted: Wanted = BASE_FILES
) -> FetchedSource:
    return fetch(
        f"file:{path}",
        root / "out",
        digest=digest,
        wanted=wanted,
        root=root,
        cache=root.parent / "cache",
        where=WHERE,
    )


def test_folder_gives_the_wanted_files(root: Path) -> None:
    fetched = fetch_file(root, "models/base")

    assert sorted(fetched.files) == ["config.json", "model.safetensors"]
    assert (root / "out" / "config.json").read_text() == "config.json"


def test_file_keeps_its_name(root: Path) -> None:
    fetched = fetch_file(root, "models/base/model.safetensors")

    assert fetched.files == {"model.safetensors": 17}
    assert fetched.digest == hashlib.sha256(b"model.safetensors").hexdigest()


def test_path_may_be_outside_the_workspace(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")

    assert fetch_file(root, "../a.gguf").files == {"a.gguf": 4}
    assert fetch_file(root, str(tmp_path / "a.gguf")).files == {"a.gguf": 4}


def test_links_arrive_as_files(root: Path) -> None:
    blobs = root / "blobs"
    blobs.mkdir()
    model = root / "models" / "base" / "model.safetensors"
    model.rename(blobs / "abc")
    model.symlink_to(blobs / "abc")
    (root / "linked").symlink_to(root / "models" / "base")

    fetch_file(root, "linked")

    result = root / "out" / "model.safetensors"
    assert not result.is_symlink()
    assert result.read_text() == "model.safetensors"


def test_result_does_not_change_with_the_file(root: Path) -> None:
    fetch_file(root, "models/base")
    with (root / "models" / "base" / "model.safetensors").open("r+b") as file:
        file.write(b"other")

    assert (root / "out" / "model.safetensors").read_text() == "model.safetensors"


def test_missing_path_shows_where_it_was_looked_for(root: Path) -> None:
    with pytest.raises(SourceError) as caught:
        fetch_file(root, "models/bsae")

    text = str(caught.value)
    assert text.startswith(
        f"file:models/bsae: expected a file or folder at models/bsae in the workspace {root}"
    )
    assert text.endswith("found base there")


def test_missing_folder_of_the_path_is_named(root: Path) -> None:
    with pytest.raises(SourceError, match=f"found no folder {root}/modles$"):
        fetch_file(root, "modles/base")


def test_broken_link_is_named(root: Path) -> None:
    (root / "link").symlink_to("nowhere")

    with pytest.raises(SourceError, match="a link to nowhere, which is not there"):
        fetch_file(root, "link")


def test_pinned_digest_is_checked_and_nothing_left(root: Path) -> None:
    with pytest.raises(DigestMismatchError, match="0" * 64) as caught:
        fetch_file(root, "models/base", digest="0" * 64)

    assert "file:models/base" in str(caught.value)
    assert not (root / "out").exists()


def test_digest_of_a_first_fetch_pins_the_next(root: Path) -> None:
    digest = fetch_file(root, "models/base").digest

    assert fetch_file(root, "models/base", digest=f"sha256:{digest}").digest == digest


def test_malformed_digest_names_the_field_and_touches_nothing(root: Path) -> None:
    (root / "out").mkdir()

    with pytest.raises(ConfigError, match=r"params.yaml: base.source \(its digest\)"):
        fetch_file(root, "models/base", digest="abc")

    assert (root / "out").exists()


def test_folder_without_weights_lists_what_it_holds(root: Path) -> None:
    with pytest.raises(SourceError, match=r"expected a LoRA adapter.*train.log"):
        fetch_file(root, "models/base", wanted=ADAPTER_FILES)


def test_pickle_is_refused(root: Path) -> None:
    (root / "adapter_model.bin").write_bytes(b"pickle")

    with pytest.raises(SourceError, match="cannot run code"):
        fetch_file(root, "adapter_model.bin", wanted=ADAPTER_FILES)


def test_source_is_never_replaced(root: Path) -> None:
    fetch_file(root, "models/base")

    with pytest.raises(ConfigError, match="folder of its own"):
        fetch_file(root, "out/model.safetensors")

    assert (root / "out" / "model.safetensors").exists()


def test_workspace_is_never_replaced(root: Path) -> None:
    with pytest.raises(ConfigError, match="folder of its own"):
        fetch(
            "file:models/base",
            root,
            digest=None,
            wanted=BASE_FILES,
            root=root / "models",
            cache=root / "cache",
            where=WHERE,
        )

    assert (root / "models" / "base").exists()
