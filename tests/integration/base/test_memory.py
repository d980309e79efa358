"""Converting needs memory for the largest tensor, not for the checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ptefoundry.base.canonical import TensorSpec, write_tensors
from ptefoundry.base.checkpoints.gguf import gguf_name
from ptefoundry.base.checkpoints.huggingface import huggingface_name
from ptefoundry.base.config import ModelConfig
from ptefoundry.base.layout import tensor_shapes
from support.tiny_models import save_tiny_tokenizer

CONFIG = ModelConfig(
    architecture="LlamaForCausalLM",
    dim=1024,
    n_layers=5,
    n_heads=16,
    n_kv_heads=4,
    head_dim=64,
    hidden_dim=3072,
    vocab_size=4096,
    norm_eps=1e-5,
    rope_theta=500000.0,
    max_context=8192,
    tied_embeddings=True,
)
"""263 MB in F32, of which the largest tensor is 17 MB."""

LIMIT = 80e6
"""Bytes: several of the largest tensor, less than a third of the checkpoint."""

# The high-water mark of the process itself (proc(5): writing 5 to clear_refs resets
# VmHWM): getrusage would count what the parent had before the exec.
CONVERT = """
import sys
from pathlib import Path
import gguf, jinja2.sandbox, safetensors.torch, tokenizers, torch
from ptefoundry.base.convert import convert_base

def high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

Path("/proc/self/clear_refs").write_text("5")
before = high_water()
convert_base(Path(sys.argv[1]), Path(sys.argv[2]))
print(high_water() - before)
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    save_tiny_tokenizer(folder)
    return folder


def save_huggingface(folder: Path) -> None:
    import torch

    shapes = {huggingface_name(name): shape for name, shape in tensor_shapes(CONFIG).items()}
    specs = [TensorSpec(name, "F32", shape) for name, shape in shapes.items()]
    write_tensors(folder / "model.safetensors", specs, lambda name: torch.full(shapes[name], 0.5))
    fields = {
        "architectures": [CONFIG.architecture],
        "hidden_size": CONFIG.dim,
        "num_hidden_layers": CONFIG.n_layers,
        "num_attention_heads": CONFIG.n_heads,
        "num_key_value_heads": CONFIG.n_kv_heads,
        "intermediate_size": CONFIG.hidden_dim,
        "vocab_size": CONFIG.vocab_size,
        "max_position_embeddings": CONFIG.max_context,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(fields))


def save_meta(folder: Path) -> None:
    import torch

    tensors = {name: torch.full(shape, 0.5) for name, shape in tensor_shapes(CONFIG).items()}
    torch.save(tensors, folder / "consolidated.00.pth")
    fields = {
        "dim": CONFIG.dim,
        "n_layers": CONFIG.n_layers,
        "n_heads": CONFIG.n_heads,
        "n_kv_heads": CONFIG.n_kv_heads,
        "hidden_dim": CONFIG.hidden_dim,
        "vocab_size": CONFIG.vocab_size,
        "norm_eps": CONFIG.norm_eps,
        "rope_theta": CONFIG.rope_theta,
    }
    (folder / "params.json").write_text(json.dumps(fields))


def save_gguf(folder: Path) -> None:
    import gguf
    import numpy

    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_block_count(CONFIG.n_layers)
    writer.add_context_length(CONFIG.max_context)
    writer.add_embedding_length(CONFIG.dim)
    writer.add_feed_forward_length(CONFIG.hidden_dim)
    writer.add_head_count(CONFIG.n_heads)
    writer.add_head_count_kv(CONFIG.n_kv_heads)
    writer.add_layer_norm_rms_eps(CONFIG.norm_eps)
    for name, shape in tensor_shapes(CONFIG).items():
        if len(shape) > 1:
            blocks = numpy.zeros((shape[0], shape[1] // 32 * 34), numpy.uint8)
            writer.add_tensor(gguf_name(name), blocks, raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), numpy.zeros(shape, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("save", [save_huggingface, save_meta, save_gguf])
def test_memory_stays_far_below_the_checkpoint(source: Path, tmp_path: Path, save: object) -> None:
    assert callable(save)
    save(source)
    command = [sys.executable, "-c", CONVERT, str(source), str(tmp_path / "out")]
    growth = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert (tmp_path / "out" / "model.safetensors").stat().st_size > 3 * LIMIT
    print(f"peak memory grew by {growth / 1e6:.0f} MB")
    assert growth < LIMIT
