"""From a bundle's folder to a version's content."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.bundle.coreml import describe_backend
from ptefoundry.bundle.manifest import load_manifest
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.digest import canonical_json, hash_bytes
from ptefoundry.errors import ArtifactError, ConfigError, RegistryError
from ptefoundry.lowering.pte import read_pte
from ptefoundry.params import XnnpackParams
from ptefoundry.registry.chunks import CHUNK_SIZE, has_chunk_list, parse_chunk_list
from ptefoundry.registry.oci import parse_index, parse_manifest
from ptefoundry.registry.pack import pack_bundle
from support.packed import BUNDLE, copy_bundle, edit_manifest, pack, replace_file

#: What the golden bundle is as version 1.4.0, for ever: clients pin it.
GOLDEN_INDEX = "sha256:7ab0efc0e7166345a2a765b5669557bbf0c39e9a64908aec1a010a8024ac899d"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return copy_bundle(tmp_path / "bundle")


def test_the_same_bundle_has_the_same_digest_for_ever() -> None:
    assert pack().packed.index.digest == GOLDEN_INDEX


def test_place_time_modes_and_measurements_do_not_matter(bundle: Path) -> None:
    (bundle / "measured.json").write_text("{}")
    (bundle / "signatures").mkdir()
    for path in bundle.rglob("*.pte"):
        os.utime(path, (0, 0))
        path.chmod(0o600)
    edit_manifest(bundle, lambda manifest: manifest["variants"].reverse())
    assert pack(bundle).packed.index.digest == GOLDEN_INDEX


def test_another_version_has_the_same_variants() -> None:
    one, other = pack().packed, pack(version="2.0.0").packed
    assert one.index.digest != other.index.digest
    assert [item.manifest for item in one.variants] == [item.manifest for item in other.variants]


def test_another_adapter_changes_its_variant_alone(bundle: Path) -> None:
    replace_file(bundle, "xnnpack/red.pte", (bundle / "xnnpack" / "blue.pte").read_bytes())
    before = {item.facts.adapter: item.manifest.digest for item in pack().packed.variants}
    after = {item.facts.adapter: item.manifest.digest for item in pack(bundle).packed.variants}
    assert {name for name in before if before[name] != after[name]} == {"red"}


def test_every_blob_is_what_its_digest_says_and_comes_before_who_refers_to_it() -> None:
    documents, seen = pack(), set[str]()
    blobs = documents.packed.blobs
    assert len({blob.digest for blob in blobs}) == len(blobs)
    for blob in blobs:
        data = documents.blob(blob.digest)
        assert (f"sha256:{hash_bytes(data)}", len(data)) == (blob.digest, blob.size)
        assert _referred(data) <= seen, blob.digest
        seen.add(blob.digest)
    assert blobs[-1].digest == documents.packed.index.digest


def _referred(data: bytes) -> set[str]:
    """Digests of what a document needs, found without the code under test."""
    text = data.decode(errors="ignore")
    if '"layers":' not in text and '"manifests":' not in text:
        return set()
    fields = json.loads(text)
    if "manifests" in fields:
        return {item["digest"] for item in fields["manifests"]}
    lists = {layer["annotations"].get("org.ptefoundry.chunks.digest") for layer in fields["layers"]}
    return {fields["config"]["digest"], *(item["digest"] for item in fields["layers"])} | (
        lists - {None}
    )


def test_layers_come_in_the_order_of_use_with_the_shared_foundation_first() -> None:
    documents = pack()
    assert [layer.path for layer in documents.content.layers] == [
        "xnnpack/foundation.ptd",
        "xnnpack/blue.pte",
        "tokenizer/chat.json",
        "tokenizer/tokenizer.json",
        "model.json",
        "manifest.json",
    ]
    foundations = {item.facts.foundation for item in documents.packed.variants}
    assert foundations == {documents.content.layers[0].descriptor.digest}


def test_facts_follow_from_the_files() -> None:
    program = read_pte(BUNDLE / "xnnpack" / "blue.pte")
    (forward,) = (method for method in program.methods if method.name == "forward")
    facts = pack().entry.facts
    assert facts.memory == 402944 + 67712 + forward.planned_bytes
    assert facts.context == 64
    assert facts.size == sum(layer.descriptor.size for layer in pack().content.layers)
    assert (facts.executorch, facts.runtime) == (None, None)


def test_the_exporter_gives_the_range_of_runtimes(bundle: Path) -> None:
    def note(manifest: dict[str, Any]) -> None:
        manifest["backends"]["xnnpack"]["exporter"] = {"executorch": "1.5.1", "torch": "2.13.0"}

    edit_manifest(bundle, note)
    facts = pack(bundle).entry.facts
    assert (facts.executorch, facts.runtime) == ("1.5.1", ">=1.5.1,<1.7.0")


def test_pinned_sources_are_facts(bundle: Path) -> None:
    def note(manifest: dict[str, Any]) -> None:
        manifest["base"]["digest"] = "sha256:" + "1" * 64
        manifest["adapters"]["blue"]["digest"] = "2" * 64

    edit_manifest(bundle, note)
    facts = pack(bundle).entry.facts
    assert (facts.base_digest, facts.adapter_digest) == ("1" * 64, "2" * 64)


def test_only_large_files_have_a_list(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [has_chunk_list(size) for size in ((64 << 20) - 1, 64 << 20)] == [False, True]
    monkeypatch.setattr("ptefoundry.registry.chunks.CHUNKED_FROM", CHUNK_SIZE + 1)
    replace_file(bundle, "xnnpack/foundation.ptd", b"f" * (CHUNK_SIZE + 1))
    replace_file(bundle, "model.json", b"m" * CHUNK_SIZE)
    documents = pack(bundle)
    layers = {layer.path: layer for layer in documents.content.layers}
    assert [path for path, layer in layers.items() if layer.chunks] == ["xnnpack/foundation.ptd"]
    reference = layers["xnnpack/foundation.ptd"].chunks
    assert reference is not None
    data = documents.blob(reference.digest)
    assert len(data) == reference.size
    found = parse_chunk_list(data, size=CHUNK_SIZE + 1, where="list")
    assert found.sha256 == (hash_bytes(b"f" * CHUNK_SIZE), hash_bytes(b"f"))
    whole = layers["xnnpack/foundation.ptd"].descriptor.digest.removeprefix("sha256:")
    assert found.prefix_sha256 == (found.sha256[0], whole)
    assert reference.digest in documents.content.referred


@pytest.mark.parametrize(
    ("prefixes", "text"),
    [
        (["a" * 64], "prefix_sha256: expected 2 digests"),
        (["a" * 64, "A" * 64], "prefix_sha256: expected a list of digests"),
        (None, "prefix_sha256: expected a list of digests"),
    ],
)
def test_prefixes_that_are_none_are_refused(prefixes: list[str] | None, text: str) -> None:
    fields = {"format": 1, "chunk_size": CHUNK_SIZE, "sha256": ["a" * 64] * 2}
    size = CHUNK_SIZE + 1
    assert parse_chunk_list(canonical_json(fields), size=size, where="x").prefix_sha256 is None
    with pytest.raises(RegistryError, match=text):
        parse_chunk_list(canonical_json(fields | {"prefix_sha256": prefixes}), size=size, where="x")


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("xnnpack/foundation.ptd", b"", "foundation.ptd: expected 402944 bytes"),
        ("model.json", b"{}", "model.json: expected 326 bytes"),
        ("tokenizer/chat.json", None, "chat.json: expected a file"),
    ],
)
def test_files_that_are_not_the_manifests_are_refused(
    bundle: Path, path: str, data: bytes | None, expected: str
) -> None:
    (bundle / path).unlink()
    if data is not None:
        (bundle / path).write_bytes(data)
    with pytest.raises(ArtifactError, match=expected):
        pack(bundle)


def test_a_flipped_bit_is_found(bundle: Path) -> None:
    path = bundle / "xnnpack" / "foundation.ptd"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"foundation\.ptd: expected 402944 bytes of sha256"):
        pack(bundle)


@pytest.mark.parametrize("name", ["con.json", "a:b", "signatures/x", "MEASURED.json", "a b"])
def test_files_that_other_systems_would_call_otherwise_are_refused(bundle: Path, name: str) -> None:
    replace_file(bundle, name, b"x")
    with pytest.raises(RegistryError, match="files: "):
        pack(bundle)


def test_unknown_methods_and_doubled_variants_are_refused(bundle: Path) -> None:
    edit_manifest(bundle, lambda manifest: manifest["variants"].append(manifest["variants"][0]))
    with pytest.raises(ArtifactError, match="none twice"):
        pack(bundle)
    edit_manifest(bundle, lambda manifest: manifest["variants"].pop())
    edit_manifest(bundle, lambda manifest: manifest["variants"][0].update(method="backward"))
    with pytest.raises(ArtifactError, match="expected a method 'backward', found only: forward"):
        pack(bundle)


@pytest.mark.parametrize("version", ["1.4", "v1.4.0", "1.4.0+build", ""])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="expected a version"):
        pack_bundle(BUNDLE, version=version)


def test_a_bundle_without_a_foundation_is_packed(bundle: Path) -> None:
    """As backends have it whose programs hold the weights."""

    def note(manifest: dict[str, Any]) -> None:
        manifest["files"] = [
            entry for entry in manifest["files"] if not entry["path"].endswith(".ptd")
        ]
        for variant in manifest["variants"]:
            variant["data"] = []

    edit_manifest(bundle, note)
    documents = pack(bundle)
    assert documents.entry.facts.foundation is None
    assert documents.content.layers[0].path == "xnnpack/blue.pte"
    assert documents.read_listing(documents.listing).variants[0].data == ()


def test_documents_are_canonical_json_and_read_back() -> None:
    documents = pack()
    for data in (documents.index, documents.manifest, documents.listing):
        assert canonical_json(json.loads(data)) == data
    assert parse_index(documents.index, where="").to_bytes() == documents.index
    assert parse_manifest(documents.manifest, where="").to_bytes() == documents.manifest


def test_the_configuration_has_only_what_modelpack_knows() -> None:
    """Fields of model-spec 0.0.7's config-schema.json, which allows no others."""
    documents = pack()
    config = json.loads(documents.blob(documents.content.config.digest))
    assert config.keys() == {"descriptor", "config", "modelfs"}
    assert config["descriptor"].keys() <= {"name", "title", "family", "version", "licenses"}
    assert config["config"].keys() <= {
        "architecture", "format", "paramSize", "precision", "quantization", "capabilities",
    }  # fmt: skip
    assert config["config"]["capabilities"] == {"inputTypes": ["text"], "outputTypes": ["text"]}
    digests = [layer.descriptor.digest for layer in documents.content.layers]
    assert config["modelfs"] == {"type": "layers", "diffIds": digests}


def _stored(**forms: str) -> list[dict[str, Any]]:
    return [
        {"what": what.replace("_", " "), "form": form, "tensors": 1, "bytes": 1}
        for what, form in forms.items()
    ]


@pytest.mark.parametrize(
    ("params", "stored", "precision", "quantization"),
    [
        (XnnpackParams(), None, "float32", None),
        (XnnpackParams(), _stored(linears="fp32", embedding_table="fp32"), "float32", None),
        (
            XnnpackParams(linear="fp16", embedding="fp16"),
            _stored(linears="fp16", embedding_table="fp16", output_head="fp16"),
            "float32",
            "embedding table: fp16; linears: fp16; output head: fp16",
        ),
        (
            XnnpackParams(linear="8da4w,32"),
            _stored(linears="8da4w,32", embedding_table="fp32"),
            "float32",
            "linears: 8da4w,32",
        ),
        (
            XnnpackParams(linear="8da4w,32", head="8da8w,0"),
            None,
            "float32",
            "linears: 8da4w,32; output head: 8da8w,0",
        ),
        (CoremlParams(), None, "float16", None),
        (CoremlParams(dtype="fp32"), None, "float32", None),
        (CoremlParams(linear="c4w"), None, "float16", "linears: c4w; output head: c4w"),
        (
            CoremlParams(linear="b4w", embedding="4,32"),
            None,
            "float16",
            "embedding table: 4,32; linears: b4w; output head: b4w",
        ),
    ],
)
def test_the_configuration_says_how_it_computes_and_what_is_quantized(
    bundle: Path,
    params: XnnpackParams | CoremlParams,
    stored: list[dict[str, Any]] | None,
    precision: str,
    quantization: str | None,
) -> None:
    """From what a build writes into manifest.json: all options, and for XNNPACK what is stored."""
    if isinstance(params, CoremlParams):
        backend, described = "coreml", describe_backend([], params)
    else:
        backend, described = "xnnpack", asdict(params)
    if stored is not None:
        described["stored_weights"] = stored

    def describe(manifest: dict[str, Any]) -> None:
        manifest["backends"] = {backend: described}
        for variant in manifest["variants"]:
            variant["backend"] = backend

    edit_manifest(bundle, describe)
    packed = pack(bundle).packed
    contents = [json.loads(one.content) for one in packed.blobs if isinstance(one.content, bytes)]
    configs = [one["config"] for one in contents if "modelfs" in one]
    assert len(configs) == 3
    for config in configs:
        assert (config["precision"], config.get("quantization")) == (precision, quantization)


def test_packing_reads_the_manifest_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        pack(tmp_path)
    shutil.copy(BUNDLE / "manifest.json", tmp_path)
    with pytest.raises(ArtifactError, match="expected a file"):
        pack(tmp_path)
    assert load_manifest(tmp_path) == pack().packed.bundle
