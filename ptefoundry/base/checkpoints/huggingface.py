"""Hugging Face checkpoints: `config.json` and one or more safetensors files.

Rotated rows are in half order. Tensor names are those of transformers' classes.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ptefoundry.base.canonical import TensorFile
from ptefoundry.base.checkpoints.checkpoint import (
    Checkpoint,
    StoredTensor,
    by_canonical_name,
    same_data,
    tensors_error,
)
from ptefoundry.base.checkpoints.huggingface_config import parse_config
from ptefoundry.base.config import LINEARS
from ptefoundry.base.fields import Fields, read_fields
from ptefoundry.base.layout import split_name
from ptefoundry.errors import CheckpointError

_MODULES = {
    "tok_embeddings": "model.embed_tokens",
    "norm": "model.norm",
    "output": "lm_head",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attention.q_norm_fn": "self_attn.q_norm",
    "attention.k_norm_fn": "self_attn.k_norm",
    **{canonical: theirs for theirs, canonical in LINEARS.items()},
}

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"

#: Buffers of old Llama checkpoints, computed from the configuration; transformers
#: drops them when it loads a checkpoint, too.
_COMPUTED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


def open_huggingface(folder: Path) -> Checkpoint:
    """Open a folder with `config.json` and safetensors.

    Raises:
        CheckpointError: something is missing, malformed or not supported.
    """
    fields = read_fields(folder / "config.json")
    config = parse_config(fields)
    tensors = [item for item in _stored(folder) if not _COMPUTED.fullmatch(item.origin)]
    if config.tied_embeddings:
        tensors = _without_tied_head(fields, tensors)
    stored = by_canonical_name(folder, config, tensors, huggingface_name)
    return Checkpoint(folder, config, stored, half_rotary=True)


def huggingface_name(name: str) -> str:
    """The name that transformers gives a canonical tensor."""
    layer, module, kind = split_name(name)
    prefix = "" if layer is None else f"model.layers.{layer}."
    return f"{prefix}{_MODULES[module]}.{kind}"


def _stored(folder: Path) -> list[StoredTensor]:
    single, index = folder / _SINGLE, folder / _INDEX
    if single.is_file() and index.is_file():
        raise CheckpointError(f"{folder}: found both {_SINGLE} and {_INDEX}; keep one of them")
    if index.is_file():
        return list(_sharded(folder, read_fields(index)))
    if not single.is_file():
        raise CheckpointError(f"{folder}: expected {_SINGLE} or {_INDEX}, found neither")
    file = TensorFile(single)
    return [_from_file(file, name) for name in file.specs]


def _sharded(folder: Path, index: Fields) -> Iterator[StoredTensor]:
    places = index.get("weight_map")
    if not isinstance(places, dict) or not all(map(_is_file_name, places.values())):
        raise index.refuse("weight_map", "tensor names with the files beside the index")
    files = {name: TensorFile(folder / name) for name in sorted(set(places.values()))}
    problems = [
        f"missing: {name} in {place}"
        for name, place in places.items()
        if name not in files[place].specs
    ]
    problems += [
        f"not expected: {name} in {place}, which {_INDEX} does not place there"
        for place, file in files.items()
        for name in file.specs
        if places.get(name) != place
    ]
    if problems:
        raise tensors_error(folder, problems)
    for name, place in places.items():
        yield _from_file(files[place], name)


def _is_file_name(value: object) -> bool:
    # An index from the internet must not make us read other folders.
    return isinstance(value, str) and value != ".." and PurePosixPath(value).name == value


def _from_file(file: TensorFile, name: str) -> StoredTensor:
    spec = file.specs[name]
    return StoredTensor(name, spec.dtype, spec.shape, lambda: file.read(name))


def _without_tied_head(fields: Fields, tensors: list[StoredTensor]) -> list[StoredTensor]:
    """Drop a head that repeats the tied embedding table.

    transformers does not tie a table and a head that differ, whatever the
    configuration says, so such a checkpoint contradicts itself.
    """
    found = {item.origin: item for item in tensors}
    head, table = found.get("lm_head.weight"), found.get("model.embed_tokens.weight")
    if head is not None and table is not None and not same_data(head, table):
        raise fields.refuse(
            "tie_word_embeddings", "false where lm_head.weight differs from the embedding table"
        )
    return [item for item in tensors if item is not head]
