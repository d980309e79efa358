import shutil
from pathlib import Path

import pytest

from ptefoundry.digest import canonical_json, hash_bytes, hash_file, hash_tree, parse_sha256
from ptefoundry.errors import ConfigError

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_digests_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert hash_file(tmp_path / "empty") == hash_bytes(b"") == EMPTY


def test_tree_digest_unchanged_when_moved_and_changed_with_content(tmp_path: Path) -> None:
    first = tmp_path / "first"
    (first / "sub").mkdir(parents=True)
    (first / "sub" / "b").write_text("b")
    (first / "a").write_text("a")
    digest = hash_tree(first)
    shutil.copytree(first, tmp_path / "second")
    assert hash_tree(tmp_path / "second") == digest
    (first / "a").rename(first / "c")
    assert hash_tree(first) != digest


def test_canonical_json_does_not_depend_on_order() -> None:
    assert canonical_json({"b": [1.5], "a": "ü"}) == '{"a":"ü","b":[1.5]}'.encode()


@pytest.mark.parametrize("text", ["", "abc", EMPTY.upper(), EMPTY + "0", "md5:" + EMPTY])
def test_other_texts_are_no_digests(text: str) -> None:
    with pytest.raises(ConfigError, match="here: expected a sha256"):
        parse_sha256(text, where="here")


def test_prefix_is_accepted() -> None:
    assert parse_sha256("sha256:" + EMPTY, where="") == EMPTY
