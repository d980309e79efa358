import struct
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.checkpoints.gguf import parse_metadata, read_gguf
from ptefoundry.base.checkpoints.gguf_file import GgufFile
from ptefoundry.base.config import ModelConfig
from ptefoundry.errors import CheckpointError

LLAMA = {
    "general.architecture": "llama",
    "general.type": "model",
    "general.alignment": 64,
    "llama.block_count": 2,
    "llama.context_length": 256,
    "llama.embedding_length": 64,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.freq_base": 500000.0,
    "llama.rope.dimension_count": 16,
    "llama.vocab_size": 400,
    "tokenizer.ggml.tokens": ["a", "b"],
    "tokenizer.ggml.scores": [0.5, 0.25],
    "tokenizer.ggml.token_type": [1, 3],
    "tokenizer.ggml.add_bos_token": True,
}
TABLE = ("token_embd.weight", (400, 64), 0, 400 * 64 * 4)
"""Name, row-major shape, GGML type number and bytes of data."""


def encode(value: Any) -> bytes:
    """A metadata value with its type number, as gguf.md describes it."""
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    items = [encode(item) for item in value]
    return (
        struct.pack("<I", 9)
        + items[0][:4]
        + struct.pack("<Q", len(items))
        + b"".join(item[4:] for item in items)
    )


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def write(
    folder: Path,
    metadata: dict[str, Any],
    tensors: tuple[tuple[str, tuple[int, ...], int, int], ...] = (TABLE,),
    *,
    version: int = 3,
) -> Path:
    """Write a GGUF file whose tensors are all zero."""
    alignment = metadata.get("general.alignment", 32)
    data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    data += b"".join(text(name) + encode(value) for name, value in metadata.items())
    offset = 0
    for name, shape, kind, size in tensors:
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        data += text(name) + dimensions + struct.pack("<IQ", kind, offset)
        offset += -(-size // alignment) * alignment
    data += b"\0" * (-len(data) % alignment + offset)
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


def parse(folder: Path, *without: str, **changed: Any) -> ModelConfig:
    metadata = {**LLAMA, **{key.replace("__", "."): value for key, value in changed.items()}}
    write(folder, {key: value for key, value in metadata.items() if key not in without})
    return parse_metadata(read_gguf(folder))


def test_metadata_is_read(tmp_path: Path) -> None:
    file = GgufFile(write(tmp_path, LLAMA))
    assert file.metadata["tokenizer.ggml.tokens"] == ["a", "b"]
    assert file.metadata["tokenizer.ggml.scores"] == [0.5, 0.25]
    assert file.metadata["tokenizer.ggml.add_bos_token"] is True
    tensor = file.tensors["token_embd.weight"]
    assert (tensor.kind, tensor.shape, tensor.nbytes) == ("F32", (400, 64), 102400)
    assert tensor.offset % 64 == 0


def test_version_2_is_read_alike(tmp_path: Path) -> None:
    assert GgufFile(write(tmp_path, LLAMA, version=2)).metadata == LLAMA | {
        "llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-5)
    }


def test_configuration_is_taken_from_metadata(tmp_path: Path) -> None:
    assert parse(tmp_path) == ModelConfig(
        architecture="LlamaForCausalLM",
        dim=64,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=16,
        hidden_dim=128,
        vocab_size=400,
        norm_eps=1e-5,  # not 9.999999747378752e-06, the float32's exact value
        rope_theta=500000.0,
        max_context=256,
        tied_embeddings=True,
    )


def test_missing_fields_have_the_defaults_of_llama_cpp(tmp_path: Path) -> None:
    config = parse(
        tmp_path,
        "llama.attention.head_count_kv",
        "llama.rope.freq_base",
        "llama.rope.dimension_count",
        "llama.vocab_size",
    )
    assert (config.n_kv_heads, config.rope_theta, config.head_dim) == (4, 10000.0, 16)
    assert config.vocab_size == 400


def test_harmless_fields_are_accepted(tmp_path: Path) -> None:
    layout = "Meta AI original pth"
    config = parse(tmp_path, llama__tensor_data_layout=layout, llama__expert_count=0)
    assert config == parse(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"general__architecture": "gemma"}, "general.architecture: found 'gemma'; supported: ll"),
        ({"general__type": "adapter"}, "general.type: found 'adapter'; supported: 'model'"),
        ({"split__count": 3}, "split.count: found 3; supported: one file"),
        ({"llama__expert_count": 8}, "llama.expert_count: found 8; supported: 0"),
        ({"llama__rope__scaling__type": "yarn"}, "llama.rope.scaling.type: found 'yarn'"),
        ({"llama__rope__scaling__factor": 2.0}, "llama.rope.scaling.factor: found 2.0"),
        ({"llama__rope__dimension_count": 8}, "llama.rope.dimension_count: found 8; supported: 16"),
        ({"llama__attention__sliding_window": 64}, "llama.attention.sliding_window: found 64"),
        ({"llama__attention__value_length": 32}, "llama.attention.value_length: found 32"),
        (
            {"llama__feed_forward_length": [8, 9]},
            r"llama.feed_forward_length: found \[8, 9\]; supported",
        ),
        ({"llama__block_count": 0}, "llama.block_count: found 0; supported: a positive integer"),
        ({"llama__logit_scale": 0.5}, "llama.logit_scale: found 0.5; supported: no such field"),
    ],
)
def test_what_we_cannot_represent_is_refused_by_name(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(CheckpointError, match=f"model.gguf: {message}"):
        parse(tmp_path, **changed)


def test_required_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"llama\.context_length: expected a value"):
        parse(tmp_path, "llama.context_length")


def test_unsupported_tensor_type_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, LLAMA, (("a", (4, 256), 10, 4 * 84),))
    with pytest.raises(CheckpointError, match=r"type of a: found 'Q2_K'; supported: F32, F16"):
        GgufFile(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ((("a", (4, 100), 8, 0),), r"a of type Q8_0 has the shape \[4, 100\]"),
        ((("a", (4, 4), 0, 0),), "the data of a ends beyond the file"),
        ((("a", (4, 4), 99, 64),), "99 is not a valid GGMLQuantizationType"),
        ((("a", (1, 1, 1, 1, 4), 0, 64),), "a has 5 dimensions"),
        ((("a", (4, 4), 0, 64), ("a", (4, 4), 0, 64)), "two tensors have the same name"),
    ],
)
def test_impossible_tensors_are_refused(tmp_path: Path, tensors: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        GgufFile(write(tmp_path, LLAMA, tensors))


@pytest.mark.parametrize("version", [1, 4, 3 << 24])
def test_other_versions_are_refused(tmp_path: Path, version: int) -> None:
    path = write(tmp_path, LLAMA, version=version)
    with pytest.raises(CheckpointError, match=f"expected a complete GGUF file.*{version}"):
        GgufFile(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, LLAMA)
    data = path.read_bytes()
    header = len(data) - 102400
    for length in (*range(0, header, 7), header, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="expected a complete GGUF file"):
            GgufFile(path)


def test_damaged_counts_do_not_fill_memory(tmp_path: Path) -> None:
    path = write(tmp_path, LLAMA)
    data = bytearray(path.read_bytes())
    for position in (8, 16, 24):
        damaged = bytearray(data)
        damaged[position : position + 8] = b"\xff" * 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="expected a complete GGUF file"):
            GgufFile(path)
