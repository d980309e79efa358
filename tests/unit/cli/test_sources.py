from pathlib import Path

import pytest

from ptefoundry.base.sources import FetchedSource
from ptefoundry.cli.sources import Pinned, guess_base_name, parse_typed_source, pin
from ptefoundry.errors import ConfigError, SourceError


def _parse(text: str, root: Path) -> str:
    return parse_typed_source(text, root=root, where="SOURCE")


def test_path_becomes_relative_to_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "one").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "models")
    assert _parse("one", tmp_path) == "file:models/one"
    assert _parse("./one", tmp_path / "workspace") == "file:../models/one"
    assert _parse(str(tmp_path / "models" / "one"), tmp_path) == "file:models/one"


def test_existing_path_with_a_colon_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run:3").mkdir()
    monkeypatch.chdir(tmp_path)
    assert _parse("run:3", tmp_path) == "file:run:3"


@pytest.mark.parametrize("source", ["hf:org/name@main", "s3://bucket/prefix/", "file:somewhere"])
def test_sources_stay_as_they_are(tmp_path: Path, source: str) -> None:
    assert _parse(source, tmp_path) == source


def test_missing_path_is_told_with_the_other_forms(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="hf:org/name@revision"):
        _parse("org/name", tmp_path)


def test_unknown_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SOURCE: expected hf:"):
        _parse("ftp://host/file", tmp_path)


@pytest.mark.parametrize(
    ("source", "resolved", "pinned"),
    [
        ("hf:org/name@main", "0" * 40, f"hf:org/name@{'0' * 40}"),
        ("hf:org/name@main/a/b", "0" * 40, f"hf:org/name@{'0' * 40}/a/b"),
        ("hf:org/name@main", None, "hf:org/name@main"),
        ("s3://bucket/a/", None, "s3://bucket/a/"),
    ],
)
def test_remote_sources_are_pinned(source: str, resolved: str | None, pinned: str) -> None:
    found = FetchedSource(digest="a" * 64, resolved=resolved, files={})
    assert pin(source, found) == Pinned(source=pinned, digest="a" * 64)


def test_files_of_this_machine_are_followed_instead() -> None:
    found = FetchedSource(digest="a" * 64, resolved=None, files={})
    assert pin("file:models", found) == Pinned(source="file:models", digest=None)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("hf:org/name@main/gguf/model.gguf", "org/name"),
        ("file:../models/tiny/", "tiny"),
        ("file:models/SmolLM2.Q4_1.gguf", "SmolLM2.Q4_1"),
        ("s3://bucket/tiny/", "tiny"),
    ],
)
def test_base_name_is_guessed(source: str, name: str) -> None:
    assert guess_base_name(source) == name
