"""What OCI's and ModelPack's specifications demand of manifests, indexes and configurations.

Said anew from the texts (image-spec 1.1: descriptor.md, manifest.md, image-index.md and
image-layout.md; model-spec 0.0.7: config.md and spec.md), independent of the code that writes
documents. Those of the golden registry and of a bundle with a chunked foundation are judged.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.registry.chunks import CHUNK_SIZE
from support.golden_registry import GOLDEN
from support.packed import copy_bundle, pack, replace_file

Json = dict[str, Any]
MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w!#$&^.+-]{0,126}/[A-Za-z0-9][\w!#$&^.+-]{0,126}", re.ASCII)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
EMPTY = "application/vnd.oci.empty.v1+json"
MODEL = "application/vnd.cncf.model"
MODALITIES = {"text", "image", "audio", "video", "embedding", "other"}
DESCRIPTOR_TEXTS = {
    *("createdAt", "family", "name", "docURL", "sourceURL", "version", "revision"),
    *("vendor", "title", "description"),
}
CONFIG_TEXTS = {"architecture", "format", "paramSize", "precision", "quantization"}


def check_descriptor(found: Json) -> None:
    assert MEDIA_TYPE.fullmatch(found["mediaType"])
    assert DIGEST.fullmatch(found["digest"])
    assert type(found["size"]) is int
    assert 0 <= found["size"] < 2**63
    assert MEDIA_TYPE.fullmatch(found.get("artifactType", "any/type"))
    check_annotations(found)


def check_annotations(owner: Json) -> None:
    found = owner.get("annotations", {})
    assert all(isinstance(text, str) for item in found.items() for text in item)
    assert "" not in found


def check_index(found: Json) -> None:
    assert type(found["schemaVersion"]) is int
    assert found["schemaVersion"] == 2
    assert found["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert isinstance(found["manifests"], list)
    for one in found["manifests"]:
        check_descriptor(one)
    check_annotations(found)


def check_manifest(found: Json) -> None:
    assert type(found["schemaVersion"]) is int
    assert found["schemaVersion"] == 2
    assert found["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert len(found["layers"]) >= 1
    for one in (found["config"], *found["layers"], *filter(None, [found.get("subject")])):
        check_descriptor(one)
    # "This MUST be set when config.mediaType is set to the empty value."
    assert found["config"]["mediaType"] != EMPTY or MEDIA_TYPE.fullmatch(found["artifactType"])
    check_annotations(found)


def check_model(found: Json) -> None:
    """A manifest of ModelPack: its types, and a path for each file that is stored raw."""
    assert found["artifactType"] == f"{MODEL}.manifest.v1+json"
    assert found["config"]["mediaType"] == f"{MODEL}.config.v1+json"
    for layer in found["layers"]:
        kind = rf"{re.escape(MODEL)}\.(weight|weight\.config|doc|code|dataset)\.v1\.raw"
        assert re.fullmatch(kind, layer["mediaType"])
        assert layer["annotations"]["org.cncf.model.filepath"]


def check_configuration(found: Json) -> None:
    """A configuration of ModelPack, which has no fields but those of its specification."""
    assert found.keys() == {"descriptor", "config", "modelfs"}
    described, config = found["descriptor"], found["config"]
    assert described.keys() <= DESCRIPTOR_TEXTS | {"authors", "licenses", "datasetsURL"}
    assert described["name"]
    assert config.keys() <= CONFIG_TEXTS | {"capabilities"}
    for texts, owner in ((DESCRIPTOR_TEXTS, described), (CONFIG_TEXTS, config)):
        assert all(isinstance(owner[key], str) for key in texts & owner.keys())
    known = {"inputTypes", "outputTypes", "knowledgeCutoff", "reasoning", "toolUsage", "languages"}
    assert config["capabilities"].keys() <= known
    for key in ("inputTypes", "outputTypes"):
        assert set(config["capabilities"][key]) <= MODALITIES
    assert found["modelfs"].keys() == {"type", "diffIds"}
    assert found["modelfs"]["type"] == "layers"
    assert len(found["modelfs"]["diffIds"]) >= 1
    assert all(DIGEST.fullmatch(digest) for digest in found["modelfs"]["diffIds"])


def rules_for(found: Json) -> Iterator[Callable[[Json], None]]:
    if "manifests" in found:
        yield check_index
    if "layers" in found and "config" in found:
        yield check_manifest
        if found["config"]["mediaType"].startswith(MODEL):
            yield check_model
    if "modelfs" in found:
        yield check_configuration


def documents(data: Iterator[bytes]) -> Iterator[Json]:
    for item in data:
        if item.startswith(b"{"):
            yield json.loads(item)


def judged(data: Iterator[bytes]) -> dict[str, int]:
    """Documents that each rule was applied to."""
    counts: dict[str, int] = {}
    for found in documents(data):
        for rule in rules_for(found):
            rule(found)
            counts[rule.__name__] = counts.get(rule.__name__, 0) + 1
    return counts


def test_the_golden_registry_is_as_the_specifications_demand() -> None:
    files = (path.read_bytes() for path in GOLDEN.rglob("*") if path.is_file())
    # Two versions, index.json and two lists of referrers; variants and what is attached.
    counts = judged(files)
    assert counts["check_index"] == 5
    assert counts["check_manifest"] == counts["check_model"] + 4
    assert counts["check_model"] >= 4
    assert counts["check_configuration"] >= 4
    layout = json.loads((GOLDEN / "oci-layout").read_bytes())
    assert layout == {"imageLayoutVersion": "1.0.0"}


def test_chunked_layers_are_as_the_specifications_demand(tmp_path: Path) -> None:
    bundle = copy_bundle(tmp_path / "bundle")
    replace_file(bundle, "xnnpack/foundation.ptd", bytes(CHUNK_SIZE + 1))
    packed = pack(bundle).packed
    small = (blob.content for blob in packed.blobs if isinstance(blob.content, bytes))
    assert judged(small) == {
        "check_index": 1,
        "check_manifest": 3,
        "check_model": 3,
        "check_configuration": 3,
    }


@pytest.mark.parametrize("rule", [check_index, check_manifest, check_model, check_configuration])
def test_a_rule_finds_what_is_missing(rule: Callable[[Json], None]) -> None:
    """Each rule demands something of each document that it is for."""
    files = (path.read_bytes() for path in GOLDEN.rglob("*") if path.is_file())
    found = next(one for one in documents(files) if rule in [*rules_for(one)])
    rule(found)
    refused = 0
    for key in found:
        rest = {name: value for name, value in found.items() if name != key}
        try:
            rule(rest)
        except (AssertionError, KeyError):
            refused += 1
    assert refused >= 2
