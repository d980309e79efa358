"""A Core ML model as ExecuTorch's delegate loads it: a package and its metadata, in one piece.

The same content gives the same bytes. ExecuTorch's own preprocessing names each model by a
random UUID, gives the package random ids, and leaves the order of protobuf's maps and of files
to chance; here the identifier is the content's digest, which is also what lets a device
find the model that it compiled before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.coreml.flat_folder import write_flat_folder
from ptefoundry.digest import canonical_json, hash_bytes, hash_file
from ptefoundry.files import atomic_writer

if TYPE_CHECKING:
    from coremltools.proto.Model_pb2 import Model

_NAME = "lowered_module"
_AUTHOR = "com.apple.CoreML"
MODEL_FILE = f"model.mlpackage/Data/{_AUTHOR}/model.mlmodel"
WEIGHTS_FILE = f"model.mlpackage/Data/{_AUTHOR}/weights/weight.bin"
MANIFEST_FILE = "model.mlpackage/Manifest.json"
METADATA_FILE = "metadata.json"
_MODEL_ID = "00000000-0000-4000-8000-000000000001"
_WEIGHTS_ID = "00000000-0000-4000-8000-000000000002"
#: What coremltools' ModelPackage writes, with fixed ids.
_MANIFEST = {
    "fileFormatVersion": "1.0.0",
    "itemInfoEntries": {
        _MODEL_ID: {
            "author": _AUTHOR,
            "description": "CoreML Model Specification",
            "name": "model.mlmodel",
            "path": f"{_AUTHOR}/model.mlmodel",
        },
        _WEIGHTS_ID: {
            "author": _AUTHOR,
            "description": "CoreML Model Weights",
            "name": "weights",
            "path": f"{_AUTHOR}/weights",
        },
    },
    "rootModelIdentifier": _MODEL_ID,
}


@dataclass(frozen=True, kw_only=True)
class Package:
    """A model in one piece."""

    key: str
    """What a program asks for it by."""
    path: Path


def write_package(
    model: "Model", weights: Path, functions: Mapping[str, str], into: Path
) -> Package:
    """Write a model with its weights.

    Args:
        model: with a function for each method.
        weights: its weight file.
        functions: the function of each method, by the method's name.
        into: the file to write.
    """
    text = model.SerializeToString(deterministic=True)
    methods = _describe_methods(model, functions)
    content = [hash_bytes(text), hash_file(weights), hash_bytes(canonical_json(methods))]
    identifier = f"executorch_{hash_bytes(' '.join(content).encode())}"
    files: dict[str, bytes | Path] = {
        METADATA_FILE: canonical_json({"identifier": identifier, "methods": methods}),
        MANIFEST_FILE: json.dumps(_MANIFEST, indent=2, sort_keys=True).encode(),
        MODEL_FILE: text,
        WEIGHTS_FILE: weights,
    }
    with atomic_writer(into) as file:
        write_flat_folder(_NAME, files, file)
    return Package(key=f"coreml_{identifier}", path=into)


def _describe_methods(model: "Model", functions: Mapping[str, str]) -> dict[str, Any]:
    """Inputs and outputs by method, as ExecuTorch's delegate needs them."""
    described = {one.name: one for one in model.description.functions}
    return {
        method: {
            "inputNames": [value.name for value in described[function].input],
            "outputNames": [value.name for value in described[function].output],
        }
        for method, function in functions.items()
    }
