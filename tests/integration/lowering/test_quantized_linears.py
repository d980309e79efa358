"""Linears of 4-bit integers: in PyTorch, in programs, and written without the compiler."""

import contextlib
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from integration.lowering.built import Built
from integration.lowering.runtime import eager_logits, rounding_of, runtime_logits
from safetensors.torch import load_file, save_file

from ptefoundry.base.config import load_config
from ptefoundry.base.convert import convert_base
from ptefoundry.errors import ArtifactError, BuildError, CheckpointError, ConfigError
from ptefoundry.lowering import xnnpack
from ptefoundry.lowering.build import build_foundation
from ptefoundry.lowering.compile import compile_template, make_recipe
from ptefoundry.lowering.foundation import load_foundation
from ptefoundry.lowering.link import Linker
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.lowering.template import load_template, template_name
from ptefoundry.model.eager import load_model
from ptefoundry.model.linear import pack_scales, pack_weight, quantize_weight
from ptefoundry.model.parity import load_answers, make_reference
from ptefoundry.model.quantized import make_quantized_reference
from ptefoundry.params import SmokeParams, XnnpackParams
from ptefoundry.schemes import LinearScheme, Schemes
from support.golden_template import edit_map
from support.tiny_models import save_tiny_base

CALLS = [[5, 17, 9, 200, 31], [7], [300, 2, 44]]
PARAMS = XnnpackParams(context_length=48, prefill_length=16, embedding="4,32", linear="8da4w,32")
SMOKE = SmokeParams(prompts=("The quick brown fox", "Ünïcödé 🙂"), tokens=6)
#: A tied head beside a 4-bit table; biases and a head of fp32; norms of heads, other groups
#: and an 8-bit head that is the embedding table.
VARIANTS: dict[str, tuple[XnnpackParams, dict[str, Any]]] = {
    "LlamaForCausalLM": (PARAMS, {}),
    "Qwen2ForCausalLM": (replace(PARAMS, head="none"), {"tied": False, "num_hidden_layers": 1}),
    "Qwen3ForCausalLM": (
        replace(PARAMS, embedding="8,0", linear="8da4w,64", head="8da8w,0"),
        {"num_hidden_layers": 1, "dtype": "bfloat16"},
    ),
}


@pytest.fixture(scope="module", params=VARIANTS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    params, options = VARIANTS[request.param]
    return Built(tmp_path_factory.mktemp("quantized"), request.param, params, **options)


def test_weights_are_rounded_to_the_nearest_step() -> None:
    weight = torch.randn(24, 96, generator=torch.Generator().manual_seed(0))
    weight[3] = 0
    values, scales = quantize_weight(weight, LinearScheme(bits=4, group=32))
    assert torch.equal(scales, scales.to(torch.bfloat16).float())
    assert (values.min(), values.max()) == (-8, 7)
    groups, steps = weight.view(24, 3, 32), scales.unsqueeze(-1)
    error = (values.view(24, 3, 32) * steps - groups).abs()
    # At most half a step; at the positive end, 7.5 steps are cut to 7, and bfloat16 adds 1/256.
    assert (error <= steps * (0.5 + 7.5 / 256)).all()
    assert (error > steps / 4).any()


def test_packing_keeps_every_value() -> None:
    values = torch.arange(-8, 8, dtype=torch.int8).repeat(4, 2)
    packed = pack_weight(values, 4)
    low, high = (packed & 15).to(torch.int8) - 8, (packed >> 4).to(torch.int8) - 8
    assert torch.equal(torch.stack((low, high), -1).flatten(1), values)
    scales = torch.tensor([[0.5, 1.25]])
    assert torch.equal(pack_scales(scales, 4).view(torch.bfloat16).float(), scales)


def test_linked_files_equal_full_exports(built: Built, tmp_path: Path) -> None:
    foundation = built.foundation.read_bytes()
    for name, linked in built.programs.items():
        if name == "blue":
            continue  # red's template, and the program differs
        program, data = built.export(name, tmp_path)
        assert linked.read_bytes() == program, name
        assert foundation == data, name


def test_programs_compute_the_quantized_model(built: Built) -> None:
    """As near as fp32 ones, but where an activation is so near a tie that sums decide."""
    results = {}
    for name, program in built.programs.items():
        results[name] = runtime_logits(program, built.foundation, CALLS)
        expected = eager_logits(built.base, built.adapters[name], built.params, CALLS)
        near = rounding_of(built.base, built.adapters[name], built.params, CALLS)
        assert near < 0.05
        torch.testing.assert_close(results[name], expected, atol=1e-4 + 2 * near, rtol=0)
        plain = XnnpackParams(context_length=48)
        original = eager_logits(built.base, built.adapters[name], plain, CALLS)
        assert (results[name] - original).abs().max() > 0.05
    assert (results["red"] - results["blue"]).abs().max() > 0.1


@pytest.mark.parametrize("part", ["weight", "scales"])
def test_a_map_that_exchanges_tensors_is_refused(built: Built, part: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built.root / "templates" / "base", tmp_path / "base"))

    def exchange(content: dict[str, Any]) -> None:
        slots = {slot["name"]: slot for slot in content["slots"]}
        gate, up = (slots[f"layers.0.feed_forward.{name}.{part}"] for name in ("w1", "w3"))
        for field in ("key", "places"):
            gate[field], up[field] = up[field], gate[field]

    edit_map(folder, exchange)
    linker = Linker(load_template(folder), load_foundation(built.foundation.parent))
    with pytest.raises(ArtifactError, match=rf"expected .*w1\.{part} where .* found .*w3\.{part};"):
        linker.link(None, tmp_path / "base.pte")


def test_foundation_says_what_is_quantized(built: Built) -> None:
    tensors = load_foundation(built.foundation.parent).tensors
    encodings = {tensor.slot: tensor.encoding for tensor in tensors}
    config, schemes = load_config(built.base / "config.json"), built.params.schemes
    linears = [slot for slot in encodings if slot.endswith(".scales") and "layers." in slot]
    assert len(linears) == 7 * config.n_layers
    assert {encodings[slot] for slot in linears} == {f"linear {schemes.linear} scales"}
    head = f"linear {schemes.head} weight" if schemes.head else "fp32"
    assert encodings.get("output.weight", "fp32") == head
    sizes = {tensor.slot: tensor.size for tensor in tensors}
    assert sizes["layers.0.feed_forward.w1.weight"] == 128 * 64 // 2
    assert sizes["layers.0.feed_forward.w1.scales"] == 128 * 64 // schemes.linear.group * 2


def test_an_8_bit_head_is_stored_with_the_table_that_it_is_tied_to(built: Built) -> None:
    data = read_ptd(built.foundation)
    segments = {entry.key: entry.segment for entry in data.entries}
    sizes = {entry.segment: entry.size for entry in data.entries}
    config = load_config(built.base / "config.json")
    tables = [size for size in sizes.values() if size >= config.vocab_size * config.dim // 2]
    assert len(tables) == (1 if built.params.head == "8da8w,0" else 2)
    assert "tok_embeddings.weight" in segments


def test_nothing_quantized_is_left_to_the_portable_kernels(built: Built) -> None:
    for program in built.programs.values():
        (method,) = (method for method in read_pte(program).methods if not method.constants)
        left = [name for name in method.operators if name.startswith("quantized_decomposed::")]
        assert all("::embedding_" in name for name in left), left


def test_needed_passes_give_the_bytes_of_all_passes(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xnnpack, "_needed_passes_only", contextlib.nullcontext)
    program, data = built.export("red", tmp_path)
    assert program == built.programs["red"].read_bytes()
    assert data == built.foundation.read_bytes()


def test_equal_linears_are_stored_as_an_export_does(built: Built, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    if built.params is not PARAMS:
        pytest.skip("one architecture is enough")
    path = built.base / "model.safetensors"
    kept = path.read_bytes()
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    wk, wv = "layers.0.attention.wk.weight", "layers.1.attention.wv.weight"
    tensors[wv] = tensors[wk].clone()
    # Other integers with the same scales.
    tensors["layers.1.attention.wk.weight"] = -tensors[wk]
    tensors["layers.0.attention.wv.weight"] = torch.zeros_like(tensors[wk])
    try:
        save_file(tensors, path)
        build_foundation(built.base, built.root / "templates", tmp_path / "foundation")
        _, data = built.export(None, tmp_path)
    finally:
        path.write_bytes(kept)
    written = tmp_path / "foundation"
    assert (written / "foundation.ptd").read_bytes() == data
    exported = runtime_logits(tmp_path / "full.pte", written / "foundation.ptd", CALLS)
    linked = runtime_logits(written / "base.pte", written / "foundation.ptd", CALLS)
    assert torch.equal(linked, exported)


def test_a_linear_that_the_delegate_leaves_fails_the_export(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from executorch.backends.xnnpack.partition import xnnpack_partitioner

    floats = xnnpack_partitioner.ConfigPrecisionType.FP32
    without = partial(xnnpack_partitioner.XnnpackPartitioner, config_precisions=floats)
    monkeypatch.setattr(xnnpack_partitioner, "XnnpackPartitioner", without)
    with pytest.raises(BuildError, match="takes every linear that is not fp32, found"):
        built.export(None, tmp_path)


@pytest.mark.parametrize(
    ("schemes", "field", "advice"),
    [
        (Schemes(linear=LinearScheme(bits=4, group=128)), "linear", "take 32 or 64"),
        (Schemes(head=LinearScheme(bits=4, group=96)), "head", "take 32 or 64"),
    ],
)
def test_groups_that_leave_a_linear_out_are_refused(
    built: Built, schemes: Schemes, field: str, advice: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_model(built.base, context=8, schemes=schemes)
    assert f"backends.xnnpack.{field}: expected groups that divide" in str(caught.value)
    assert advice in str(caught.value)


def test_answers_come_with_what_rounding_changes(built: Built, tmp_path: Path) -> None:
    original, quantized = tmp_path / "original", tmp_path / "quantized"
    make_reference(built.base_source, built.base, None, None, smoke=SMOKE, into=original)
    make_quantized_reference(
        built.base, None, original, params=built.params, tokens=SMOKE.tokens, into=quantized
    )
    reference = load_answers(quantized)
    assert reference.rounding is not None
    assert 0 < reference.rounding.logits < 1e-2
    assert reference.quantization is not None
    assert reference.quantization.logits > 10 * reference.rounding.logits
    for answer in reference.answers:
        assert len(answer.near) == len(answer.tokens)
        assert all(token in near for token, near in zip(answer.tokens, answer.near, strict=True))


# The high-water mark of the process itself, as in test_memory.py of the bases.
ENCODE = """
import sys
from pathlib import Path
from ptefoundry.errors import CheckpointError
from ptefoundry.lowering.encodings import find_encoding
from ptefoundry.raw_tensors import open_tensors

def high_water():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

def encode(name, part):
    with open_tensors(Path(sys.argv[1]), CheckpointError) as tensors:
        pieces = find_encoding(f"linear 8da4w,32 {part}")(tensors, name)
        return sum(len(piece) for piece in pieces)

encode("small", "weight")
Path("/proc/self/clear_refs").write_text("5")
before = high_water()
print(encode("large", "weight"), encode("large", "scales"), high_water() - before)
"""


def test_a_large_linear_is_encoded_in_pieces(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    save_file({"small": torch.ones(8, 64), "large": torch.ones(16384, 4096)}, path)
    done = subprocess.run(
        [sys.executable, "-c", ENCODE, path], check=True, capture_output=True, text=True
    )
    weight, scales, taken = map(int, done.stdout.split())
    assert weight == 16384 * 4096 // 2
    assert scales == 16384 * 4096 // 32 * 2
    assert taken < 128 << 20  # half of the tensor


def test_each_tensor_is_quantized_once(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []

    def count(tensor: torch.Tensor, scheme: LinearScheme) -> tuple[torch.Tensor, torch.Tensor]:
        rows.append(len(tensor))
        return quantize_weight(tensor, scheme)

    monkeypatch.setattr("ptefoundry.model.linear.quantize_weight", count)
    build_foundation(built.base, built.root / "templates", tmp_path / "foundation")
    tensors = load_foundation(tmp_path / "foundation").tensors
    linears = {one.slot for one in tensors if one.encoding.startswith("linear ")}
    shapes = load_template(built.root / "templates" / "base").map.slots
    assert sum(rows) == sum(
        slot.shape[0]
        for slot in shapes
        if slot.name in linears and slot.encoding.endswith(" weight")
    )
    for path in (built.root / "foundation").iterdir():
        assert (tmp_path / "foundation" / path.name).read_bytes() == path.read_bytes()


def test_linears_that_differ_in_scales_alone_are_refused(tmp_path: Path) -> None:
    """The runtime would use the first one's packed weights for both, and be silently wrong."""
    params = replace(PARAMS, embedding="none", head="none")
    save_tiny_base(tmp_path / "base", "LlamaForCausalLM", num_hidden_layers=1)
    convert_base(tmp_path / "base", tmp_path / "canonical")
    path, feed = tmp_path / "canonical" / "model.safetensors", "layers.0.feed_forward"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors[f"{feed}.w3.weight"] = 2 * tensors[f"{feed}.w1.weight"]
    save_file(tensors, path)
    config = load_config(tmp_path / "canonical" / "config.json")
    templates = tmp_path / "templates"
    compile_template(make_recipe(config, params, {}, "test"), templates / template_name({}))
    with pytest.raises(CheckpointError, match=r"w3\.weight: .*those of .*w1\.weight; the runtime"):
        build_foundation(tmp_path / "canonical", templates, tmp_path / "foundation")
