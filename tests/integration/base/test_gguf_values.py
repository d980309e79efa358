"""Tensors of GGUF files are decoded as ggml decodes them.

The expected values of K-quants come from a plain reading of `dequantize_row_*` in
ggml-quants.c, one element at a time; those of the others from what was encoded.
"""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ptefoundry.base.checkpoints import gguf_file, open_checkpoint
from support.tiny_checkpoints import save_gguf
from support.tiny_models import save_tiny_base

BLOCK_BYTES = {"Q4_K": 144, "Q5_K": 176, "Q6_K": 210}


def scale_and_min(scales: bytes, index: int) -> tuple[int, int]:
    """Unpack the 6-bit scale and minimum of sub-block `index` (get_scale_min_k4)."""
    if index < 4:
        return scales[index] & 63, scales[index + 4] & 63
    scale = (scales[index + 4] & 15) | ((scales[index - 4] >> 6) << 4)
    return scale, (scales[index + 4] >> 4) | ((scales[index] >> 6) << 4)


def decode_q4_k(block: bytes) -> list[float]:
    step, low = struct.unpack("<ee", block[:4])
    values = []
    for part in range(8):
        scale, least = scale_and_min(block[4:16], part)
        quants = block[16 + 32 * (part // 2) :][:32]
        nibbles = [quant >> 4 if part % 2 else quant & 15 for quant in quants]
        values += [step * scale * nibble - low * least for nibble in nibbles]
    return values


def decode_q5_k(block: bytes) -> list[float]:
    step, low = struct.unpack("<ee", block[:4])
    high_bits = block[16:48]
    values = []
    for part in range(8):
        scale, least = scale_and_min(block[4:16], part)
        quants = block[48 + 32 * (part // 2) :][:32]
        for quant, high in zip(quants, high_bits, strict=True):
            nibble = (quant >> 4 if part % 2 else quant & 15) + 16 * (high >> part & 1)
            values.append(step * scale * nibble - low * least)
    return values


def decode_q6_k(block: bytes) -> list[float]:
    low, high = block[:128], block[128:192]
    scales, step = struct.unpack("<16b", block[192:208]), struct.unpack("<e", block[208:])[0]
    values = []
    for index in range(256):
        half, quarter, place = index // 128, index % 128 // 32, index % 32
        byte = low[64 * half + 32 * (quarter % 2) + place]
        nibble = byte >> 4 if quarter > 1 else byte & 15
        bits = high[32 * half + place] >> (2 * quarter) & 3
        values.append(step * scales[index // 16] * ((nibble | bits << 4) - 32))
    return values


DECODE: dict[str, Callable[[bytes], list[float]]] = {
    "Q4_K": decode_q4_k,
    "Q5_K": decode_q5_k,
    "Q6_K": decode_q6_k,
}


def random_blocks(kind: str, shape: Sequence[int], seed: int) -> Any:
    """Valid blocks [rows, bytes] of a matrix, with weights of about 1/16."""
    import numpy

    generator = numpy.random.default_rng(seed)
    size = BLOCK_BYTES[kind]
    blocks = generator.integers(0, 256, (shape[0] * shape[1] // 256, size), numpy.uint8)
    for block in blocks:
        if kind == "Q6_K":
            block[208:] = numpy.frombuffer(struct.pack("<e", 4e-5), numpy.uint8)
        else:
            block[:4] = numpy.frombuffer(struct.pack("<ee", 3e-4, 2e-3), numpy.uint8)
    return blocks.reshape(shape[0], -1)


@pytest.fixture(scope="module")
def wide_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 256, which K-quants need."""
    folder = tmp_path_factory.mktemp("wide") / "base"
    save_tiny_base(folder, hidden_size=256, intermediate_size=256)
    return folder


@pytest.mark.parametrize("kind", DECODE)
def test_k_quants_decode_as_ggml_does(wide_base: Path, tmp_path: Path, kind: str) -> None:
    import torch

    names = {"blk.0.ffn_up.weight": (256, 256), "token_embd.weight": (400, 256)}
    raw = {name: random_blocks(kind, shape, seed=3) for name, shape in names.items()}
    for part in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up"):
        rows = 128 if part in ("attn_k", "attn_v") else 256
        for layer in (0, 1):
            name = f"blk.{layer}.{part}.weight"
            raw.setdefault(name, random_blocks(kind, (rows, 256), seed=layer))
    path = save_gguf(wide_base, tmp_path / "gguf", kind=kind, raw=raw)

    with open_checkpoint(path.parent) as checkpoint:
        for name, canonical in (
            ("blk.0.ffn_up.weight", "layers.0.feed_forward.w3.weight"),
            ("token_embd.weight", "tok_embeddings.weight"),
        ):
            found = checkpoint.read(canonical)
            blocks = raw[name].reshape(-1, BLOCK_BYTES[kind])
            expected = [DECODE[kind](block.tobytes()) for block in blocks]
            assert found.dtype == torch.float32
            assert found.std() > 0.01
            torch.testing.assert_close(
                found.flatten(), torch.tensor(expected).flatten(), rtol=1e-6, atol=1e-7
            )


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [("Q8_0", 0.01), ("Q5_1", 0.05), ("Q5_0", 0.1), ("Q4_1", 0.1), ("Q4_0", 0.15)],
)
def test_quantized_values_are_near_the_original(
    wide_base: Path, tmp_path: Path, kind: str, tolerance: float
) -> None:
    path = save_gguf(wide_base, tmp_path / "gguf", kind=kind)
    with open_checkpoint(wide_base) as original, open_checkpoint(path.parent) as checkpoint:
        assert checkpoint.config == original.config
        for name in original.names():
            spec, exact = checkpoint.spec(name), original.read(name)
            found = checkpoint.read(name)
            assert (spec.dtype, spec.shape) == ("F32", tuple(found.shape))
            assert (found - exact).abs().max() <= tolerance * exact.abs().max(), name


@pytest.mark.parametrize(("kind", "dtype"), [("F16", "float16"), ("BF16", "bfloat16")])
def test_half_precision_keeps_its_dtype(
    wide_base: Path, tmp_path: Path, kind: str, dtype: str
) -> None:
    import torch

    path = save_gguf(wide_base, tmp_path / "gguf", kind=kind)
    with open_checkpoint(wide_base) as original, open_checkpoint(path.parent) as checkpoint:
        for name in original.names():
            exact = original.read(name)
            expected = exact.to(getattr(torch, dtype)) if exact.dim() > 1 else exact
            assert checkpoint.spec(name).dtype == (kind if exact.dim() > 1 else "F32")
            assert torch.equal(checkpoint.read(name), expected), name


def test_decoding_in_pieces_changes_nothing(
    wide_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    path = save_gguf(wide_base, tmp_path / "gguf", kind="Q4_1")
    with open_checkpoint(path.parent) as checkpoint:
        whole = checkpoint.read("tok_embeddings.weight")
        monkeypatch.setattr(gguf_file, "_CHUNK_BYTES", 1000)
        assert torch.equal(checkpoint.read("tok_embeddings.weight"), whole)


def test_head_with_the_tables_bytes_counts_as_tied(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_tiny_base(tmp_path / "base", tied=False)
    path = save_gguf(tmp_path / "base", tmp_path / "untied", kind="Q8_0")
    with open_checkpoint(path.parent) as checkpoint:
        assert not checkpoint.config.tied_embeddings
        assert "output.weight" in checkpoint.names()

    tensors = load_file(tmp_path / "base" / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tmp_path / "base" / "model.safetensors")
    path = save_gguf(tmp_path / "base", tmp_path / "tied", kind="Q8_0")
    with open_checkpoint(path.parent) as checkpoint:
        assert checkpoint.config.tied_embeddings
        assert "output.weight" not in checkpoint.names()
