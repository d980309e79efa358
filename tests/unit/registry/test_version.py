"""Indexes and manifests that a stranger wrote: what is refused, and by which field."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError
from ptefoundry.registry.version import read_version
from support.packed import NAME, VERSION, Documents, pack, read_index

DOCUMENTS: Documents = pack()
HEX = "ab" * 32
PREFIX = "org.ptefoundry."
FILEPATH, TITLE = "org.cncf.model.filepath", "org.opencontainers.image.title"


def _path(*keys: Any, value: Any = None) -> Callable[[dict[str, Any]], None]:
    """Sets a field, or removes it where there is no value."""

    def edit(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        if value is None:
            del document[keys[-1]]
        else:
            document[keys[-1]] = value

    return edit


def _swap_first(document: dict[str, Any]) -> None:
    document["manifests"][:2] = document["manifests"][1::-1]


INDEX_EDITS = [
    (_path("artifactType"), "artifactType: expected application/vnd.ptefoundry"),
    (_path("artifactType", value="x/y"), "artifactType: expected application/vnd.ptefoundry"),
    (_path("mediaType", value="x/y"), "expected schemaVersion 2"),
    (_path("schemaVersion", value=1), "expected schemaVersion 2"),
    (_path("annotations", TITLE, value="other"), f"{TITLE}: expected 'tiny', found 'other'"),
    (_path("annotations", "org.opencontainers.image.version"), "expected '1.4.0', found None"),
    (_path("manifests", value=[]), "manifests: expected variants"),
    (_path("manifests", value={}), "manifests: expected a list"),
    (lambda index: index["manifests"].append(index["manifests"][0]), "none twice"),
    (_swap_first, "by backend and adapter"),
    (_path("manifests", 0, "mediaType", value="x/y"), "manifests[0]: expected application/vnd.oci"),
    (_path("manifests", 0, "artifactType"), "manifests[0]: expected application/vnd.oci"),
    (_path("manifests", 0, "size", value=9 << 20), "manifests[0]: size: expected at most"),
    (_path("manifests", 0, "size", value=-1), "manifests[0]: size"),
    (_path("manifests", 0, "size", value=True), "manifests[0]: size"),
    (
        _path("manifests", 0, "digest", value="sha256:" + HEX.upper()),
        "manifests[0]: digest: expected",
    ),
    (_path("manifests", 0, "digest", value="sha512:" + HEX), "manifests[0]: digest: expected"),
    (_path("manifests", 0, "annotations"), "org.ptefoundry.backend: expected"),
]


@pytest.mark.parametrize(("edit", "expected"), INDEX_EDITS)
def test_other_indexes_are_refused(edit: Callable[[dict[str, Any]], None], expected: str) -> None:
    index = json.loads(DOCUMENTS.index)
    edit(index)
    with pytest.raises(RegistryError) as caught:
        read_index(canonical_json(index))
    assert expected in str(caught.value)
    assert "index" in str(caught.value)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("backend", None),
        ("backend", ""),
        ("backend", "../x"),
        ("adapter", "a b"),
        ("adapter", "x" * 65),
        ("method", "\n"),
        ("program", "../base.pte"),
        ("program", "/base.pte"),
        ("program", None),
        ("base", "a\nb"),
        ("base", ""),
        ("base", "x" * 257),
        ("size", "-1"),
        ("size", "01"),
        ("size", "1e3"),
        ("size", " 1"),
        ("size", str(2**50 + 1)),
        ("memory", "lots"),
        ("memory", "\u0661"),  # a digit, but not one of ours
        ("foundation", HEX),
        ("foundation", None),
        ("foundation.size", None),
        ("context", "many"),
        ("executorch", "1.5.1 or so"),
        ("runtime", ">=1.5.1"),
        ("runtime", ">=1.5,<1.7"),
        ("runtime", ">=1.5.1,<1.7.0\n"),
        ("base.digest", "sha256:" + HEX),
        ("adapter.digest", "abc"),
    ],
)
def test_other_facts_are_refused(fact: str, value: str | None) -> None:
    index = json.loads(DOCUMENTS.index)
    annotations = index["manifests"][1]["annotations"]
    annotations.pop(PREFIX + fact, None)
    annotations |= {PREFIX + fact: value} if value is not None else {}
    with pytest.raises(RegistryError, match=r"index: manifests\[1\]: org\.ptefoundry\."):
        read_index(canonical_json(index))


def _grow(layer: int, size: int) -> Callable[[dict[str, Any]], None]:
    """Makes a file large and gives it a chunk list."""

    def edit(manifest: dict[str, Any]) -> None:
        manifest["layers"][layer]["size"] = size
        manifest["layers"][layer]["annotations"] |= {
            PREFIX + "chunks.digest": f"sha256:{HEX}",
            PREFIX + "chunks.size": "178",
        }

    return edit


TAR = "application/vnd.cncf.model.weight.v1.tar"
MANIFEST_EDITS = [
    (_path("artifactType", value="x/y"), "artifactType: expected application/vnd.cncf.model"),
    (_path("config"), "config: expected a descriptor"),
    (_path("config", "mediaType", value="x/y"), "config: expected application/vnd.cncf.model"),
    (_path("config", "size", value=1 << 30), "config: expected application/vnd.cncf.model"),
    (_path("annotations", PREFIX + "memory", value="1"), "expected those of the version's index"),
    (_path("annotations", PREFIX + "adapter", value="red"), "expected those of the version's"),
    (_path("layers", value=[]), "expected manifest.json last"),
    (_path("layers", 5), "expected manifest.json last"),
    (_path("layers", 0), "expected the foundation"),
    (_path("layers", 0, "digest", value="sha256:" + HEX), "expected the foundation"),
    (_path("layers", 0, "size", value=1), "expected the foundation"),
    (_path("layers", 1), "expected the program 'xnnpack/blue.pte'"),
    (_path("layers", 2), "bytes in all"),
    (_path("layers", 2, "size", value=344), "bytes in all"),
    (
        _path("layers", 2, "mediaType", value=TAR),
        "layers[2]",
    ),
    (_path("layers", 2, "annotations"), "layers[2]: org.cncf.model.filepath: expected a path"),
    (_path("layers", 2, "annotations", TITLE, value="x"), "and the same in"),
    (_path("layers", 2, "annotations", TITLE), "and the same in"),
    (_grow(5, 9 << 20), "manifest.json: expected at most"),
    # Files above 8 MiB are taken with a list and without: what is wrong is the sum.
    (_grow(2, 9 << 20), "bytes in all"),
    (_path("layers", 2, "size", value=9 << 20), "bytes in all"),
    (_path("layers", 2, "size", value=65 << 20), "bytes in all"),
    (_grow(2, 8 << 20), "for files of more than 8388608 bytes only"),
    (_path("layers", 2, "annotations", PREFIX + "chunks.size", value="178"), "layers[2]: org.pt"),
    (
        _path("layers", 2, "annotations", PREFIX + "chunks.digest", value="sha256:" + HEX),
        "layers[2]: org.ptefoundry.chunks.digest",
    ),
]


@pytest.mark.parametrize(("edit", "expected"), MANIFEST_EDITS)
def test_other_manifests_are_refused(edit: Callable[[dict[str, Any]], None], expected: str) -> None:
    manifest = json.loads(DOCUMENTS.manifest)
    edit(manifest)
    with pytest.raises(RegistryError) as caught:
        DOCUMENTS.read_manifest(canonical_json(manifest))
    assert expected in str(caught.value)
    assert "manifest" in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "../x", "x/../y", "x/..", "/x", "//x", "x//y", "x/", "./x", ".", "..", "", "~", ".hidden",
        "C:x", "C:/x", "c:\\x", "x\\y", "\\\\server\\share", "x:stream",
        "a\0b", "a\nb", "a\x7fb", "a\u202eb", "e\u0301", "\uff0e\uff0e/x", "a b", "a%2fb",
        "con", "CON", "nul.txt", "x/aux.json", "Com1", "lpt9.pte", "com0",
        "x.", "x./y", "x ", "a*b", "a?b", 'a"b', "a<b", "a|b",
        "x" * 129, "/".join(["x" * 100] * 6),
        "model.json", "MODEL.json", "xnnpack", "XNNPACK/blue.pte", "model.json/x",
        "manifest.json", "Manifest.JSON", "measured.json", "signatures", "signatures/x",
        "Signatures/x.sig", "measured.json/x",
    ],
)  # fmt: skip
def test_paths_that_could_be_another_file_are_refused(path: str) -> None:
    manifest = json.loads(DOCUMENTS.manifest)
    manifest["layers"][2]["annotations"] |= {FILEPATH: path, TITLE: path}
    with pytest.raises(RegistryError, match="manifest: layers"):
        DOCUMENTS.read_manifest(canonical_json(manifest))


@pytest.mark.parametrize(
    "path", ["x", "tokenizer/x.json", "_x", "a-b+c_d.e", "coms/auxiliary.c", "3"]
)
def test_plain_paths_are_taken(path: str) -> None:
    manifest = json.loads(DOCUMENTS.manifest)
    manifest["layers"][2]["annotations"] |= {FILEPATH: path, TITLE: path}
    assert DOCUMENTS.read_manifest(canonical_json(manifest)).layers[2].path == path


@pytest.mark.parametrize(("name", "version"), [("other", VERSION), (NAME, "1.4.1")])
def test_an_index_of_another_version_is_refused(name: str, version: str) -> None:
    with pytest.raises(RegistryError, match=r"expected 'other'|expected '1\.4\.1'"):
        read_version(DOCUMENTS.index, name=name, version=version, where="index")


def test_an_unknown_variant_lists_the_known_ones() -> None:
    with pytest.raises(RegistryError, match="xnnpack/base, xnnpack/blue, xnnpack/red"):
        read_index(DOCUMENTS.index).variant("coreml", "base")
