import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from package_index import write_index, write_wheel

from ptefoundry.base.sources import ADAPTER_FILES, FetchedSource
from ptefoundry.errors import DigestMismatchError, SourceError

Fetch = Callable[..., FetchedSource]

FILES = {
    "tiny_model/__init__.py": b"",
    "tiny_model/model.gguf": b"GGUF" + bytes(range(256)) * 40,
    "tiny_model/adapters/a/adapter_config.json": b"{}",
    "tiny_model/adapters/a/adapter_model.safetensors": b"weights of a",
    "tiny_model/adapters/a/notes.txt": b"",
    "tiny_model/adapters/b/adapter_model.bin": b"pickle",
}
SPEC = "pypi:tiny-model==1.0/tiny_model/model.gguf"
CONTENT = FILES["tiny_model/model.gguf"]


@pytest.fixture
def index(tmp_path: Path, use_index: Callable[[str], None]) -> Path:
    folder = tmp_path / "index"
    wheel = write_wheel(tmp_path / "wheels", "tiny_model", "1.0", FILES)
    use_index(write_index(folder, wheel))
    return folder


def wheels(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.whl"))


def test_file_out_of_a_wheel(index: Path, fetch_here: Fetch, into: Path) -> None:
    fetched = fetch_here(SPEC)

    assert (into / "model.gguf").read_bytes() == CONTENT
    assert fetched.digest == hashlib.sha256(CONTENT).hexdigest()
    assert fetched.files == {"model.gguf": len(CONTENT)}


def test_name_may_be_written_as_pip_accepts_it(index: Path, fetch_here: Fetch, into: Path) -> None:
    fetch_here("pypi:Tiny_Model==1.0.0/tiny_model/model.gguf")

    assert (into / "model.gguf").read_bytes() == CONTENT


def test_folder_out_of_a_wheel(index: Path, fetch_here: Fetch) -> None:
    fetched = fetch_here("pypi:tiny-model==1.0/tiny_model/adapters/a", wanted=ADAPTER_FILES)

    assert sorted(fetched.files) == ["adapter_config.json", "adapter_model.safetensors"]


def test_second_member_comes_from_the_wheel_in_the_cache(
    index: Path, fetch_here: Fetch, use_index: Callable[[str], None]
) -> None:
    fetch_here(SPEC)
    use_index("http://127.0.0.1:9/simple")

    fetched = fetch_here("pypi:tiny-model==1.0/tiny_model/adapters/a", wanted=ADAPTER_FILES)

    assert "adapter_model.safetensors" in fetched.files


def test_pickle_is_refused(index: Path, fetch_here: Fetch) -> None:
    with pytest.raises(SourceError, match="cannot run code"):
        fetch_here(
            "pypi:tiny-model==1.0/tiny_model/adapters/b/adapter_model.bin", wanted=ADAPTER_FILES
        )


def test_missing_member_shows_near_ones(index: Path, fetch_here: Fetch, into: Path) -> None:
    with pytest.raises(SourceError, match=r"no 'tiny_model/modle.gguf'.*tiny_model/model.gguf"):
        fetch_here("pypi:tiny-model==1.0/tiny_model/modle.gguf")

    assert not into.exists()


def test_unknown_version_is_explained(index: Path, fetch_here: Fetch) -> None:
    with pytest.raises(SourceError, match="no wheel of this version"):
        fetch_here("pypi:tiny-model==2.0/tiny_model/model.gguf")


def test_index_that_is_not_there_is_explained(
    fetch_here: Fetch, use_index: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index("http://127.0.0.1:9/simple")

    monkeypatch.setenv("PIP_RETRIES", "1")

    with pytest.raises(SourceError, match="cannot be reached: check the network"):
        fetch_here(SPEC)


def test_unknown_package_is_explained(index: Path, fetch_here: Fetch) -> None:
    with pytest.raises(SourceError, match="no such package"):
        fetch_here("pypi:other-model==1.0/model.gguf")


def test_damaged_wheel_in_the_cache_is_removed(
    index: Path, fetch_here: Fetch, into: Path, cache: Path
) -> None:
    fetch_here(SPEC)
    (wheel,) = wheels(cache)
    data = bytearray(wheel.read_bytes())
    position = data.index(b"tiny_model/model.gguf") + 60
    data[position] ^= 0xFF
    wheel.write_bytes(data)

    with pytest.raises(SourceError, match="damaged"):
        fetch_here(SPEC)
    assert not into.exists()

    fetch_here(SPEC)
    assert (into / "model.gguf").read_bytes() == CONTENT


def test_cut_off_wheel_in_the_cache_is_removed(index: Path, fetch_here: Fetch, cache: Path) -> None:
    fetch_here(SPEC)
    (wheel,) = wheels(cache)
    wheel.write_bytes(wheel.read_bytes()[:-100])

    with pytest.raises(SourceError, match="damaged"):
        fetch_here(SPEC)

    assert wheels(cache) == []


def test_wheel_of_other_content_is_forgotten(index: Path, fetch_here: Fetch, cache: Path) -> None:
    with pytest.raises(DigestMismatchError, match="0" * 64):
        fetch_here(SPEC, digest="0" * 64)

    assert wheels(cache) == []


def test_path_in_the_wheel_cannot_leave_the_result(
    tmp_path: Path, fetch_here: Fetch, use_index: Callable[[str], None], into: Path
) -> None:
    wheel = write_wheel(
        tmp_path / "evil", "evil_model", "1.0", {"m/../../../model.gguf": b"out", "m/x.gguf": b"in"}
    )
    use_index(write_index(tmp_path / "index", wheel))

    fetched = fetch_here("pypi:evil-model==1.0/m")

    assert fetched.files == {"x.gguf": 2}
    assert sorted(path.name for path in into.iterdir()) == ["x.gguf"]
