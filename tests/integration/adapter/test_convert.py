import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from ptefoundry.adapter.canonical import load_adapter, save_adapter
from ptefoundry.adapter.convert import convert_adapter
from ptefoundry.digest import hash_file
from ptefoundry.errors import AdapterError, CheckpointError
from ptefoundry.files import write_json
from support.tiny_adapters import TINY, lora_tensors, write_adapter

FILES = ("adapter.json", "adapter.safetensors", "adapter.sha256")


@pytest.fixture
def base(tmp_path):
    """The canonical folder of a base, as far as the conversion reads it."""
    write_json(tmp_path / "base" / "config.json", TINY.to_dict())
    return tmp_path / "base"


def convert(base, source, into):
    return convert_adapter(source, base, into, base_name="example/tiny")


def contents(folder):
    return [(folder / name).read_bytes() for name in FILES]


def test_canonical_tensors(base, tmp_path):
    source = write_adapter(tmp_path / "source", lora_alpha=3)
    fitted = convert(base, source, tmp_path / "out")
    assert fitted.warnings == ()
    adapter = load_adapter(tmp_path / "out")
    paths = [f"layers.{layer}.attention.{name}" for layer in (0, 1) for name in ("wq", "wv")]
    assert adapter.modules == dict.fromkeys(paths, 2)
    tensors = dict(adapter.tensors())
    assert list(tensors) == adapter.names()
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}

    original = load_file(source / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.1.self_attn"
    a, b = "layers.1.attention.wv.lora_a", "layers.1.attention.wv.lora_b"
    assert torch.equal(tensors[a], original[f"{prefix}.v_proj.lora_A.weight"])
    assert torch.equal(tensors[b], original[f"{prefix}.v_proj.lora_B.weight"] * 1.5)
    # Rows 0, 1, 2, 3 of a head in half order are 0, 2, 1, 3 in interleaved order.
    q = original[f"{prefix}.q_proj.lora_B.weight"] * 1.5
    rows = [head * 4 + row for head in range(4) for row in (0, 2, 1, 3)]
    assert torch.equal(tensors["layers.1.attention.wq.lora_b"], q[rows])


def test_description_and_digest(base, tmp_path):
    source = write_adapter(tmp_path / "source", peft_version="0.21.2")
    convert(base, source, tmp_path / "out")
    info = json.loads((tmp_path / "out" / "adapter.json").read_text())
    assert info == {
        "format_version": 2,
        "modules": {
            f"layers.{layer}.attention.{name}": 2 for layer in (0, 1) for name in ("wq", "wv")
        },
        "source": {"base_model_name_or_path": "example/tiny", "peft_version": "0.21.2"},
    }
    digest = hash_file(tmp_path / "out" / "adapter.safetensors")
    assert (tmp_path / "out" / "adapter.sha256").read_text() == f"{digest}\n"


def test_bytes_depend_on_the_adapter_only(base, tmp_path):
    source = write_adapter(tmp_path / "source")
    convert(base, source, tmp_path / "out")
    shutil.copytree(source, tmp_path / "elsewhere" / "copy")
    tensors = load_file(source / "adapter_model.safetensors")
    reordered = dict(reversed(tensors.items()))
    save_file(reordered, tmp_path / "elsewhere/copy/adapter_model.safetensors", {"format": "pt"})
    convert_adapter(
        tmp_path / "elsewhere/copy", base, tmp_path / "deeply/nested/out", base_name="other name"
    )
    assert contents(tmp_path / "deeply/nested/out") == contents(tmp_path / "out")


def test_converting_again_replaces(base, tmp_path):
    convert(base, write_adapter(tmp_path / "a"), tmp_path / "out")
    first = contents(tmp_path / "out")
    convert(base, write_adapter(tmp_path / "b", lora_alpha=40), tmp_path / "out")
    assert contents(tmp_path / "out") != first
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == list(FILES)


def test_signature_is_that_of_modules_and_ranks(base, tmp_path):
    settings = {
        "a": {},
        "b": {"lora_alpha": 40, "base_model_name_or_path": "else"},
        "c": {"r": 3, "tensors": lora_tensors(rank=3)},
        "d": {
            "target_modules": ["q_proj", "k_proj"],
            "tensors": lora_tensors(["q_proj", "k_proj"]),
        },
    }
    signatures = {}
    for name, changes in settings.items():
        convert(base, write_adapter(tmp_path / name, **changes), tmp_path / f"{name}-out")
        signatures[name] = load_adapter(tmp_path / f"{name}-out").signature
    assert signatures["a"] == signatures["b"]
    assert len(set(signatures.values())) == 3
    assert len(signatures["a"]) == 64


def test_nothing_is_written_for_a_refused_adapter(base, tmp_path):
    with pytest.raises(AdapterError):
        convert(base, write_adapter(tmp_path / "source", use_dora=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_base_without_configuration_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        convert(tmp_path, write_adapter(tmp_path / "source"), tmp_path / "out")


def test_products_beyond_fp32_are_refused(base, tmp_path):
    tensors = lora_tensors()
    name = "base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight"
    dtype, shape, data = tensors[name]
    huge = torch.tensor([3e38]).numpy().tobytes()
    tensors[name] = dtype, shape, data[:12] + huge + data[16:]
    source = write_adapter(tmp_path / "source", tensors=tensors, lora_alpha=100)
    with pytest.raises(AdapterError) as caught:
        convert(base, source, tmp_path / "out")
    for part in (
        f"{source}/adapter_model.safetensors: {name}: [1, 1]: ",
        "50.0",
        "lora_alpha in adapter_config.json",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter.json", b"{", "expected a converted adapter"),
        ("adapter.json", b"[]", "expected a converted adapter"),
        ("adapter.json", b'{"format_version": 2}', "expected a converted adapter"),
        (
            "adapter.json",
            b'{"format_version": 1, "modules": {}, "source": {}}',
            "format_version: expected 2, found 1; convert the adapter again",
        ),
        ("adapter.safetensors", b"\0" * 40, "sha256: expected .* altered or cut, convert"),
        ("adapter.json", None, "expected a converted adapter"),
        ("adapter.safetensors", None, "expected the matrices .* convert the adapter again"),
    ],
)
def test_a_damaged_conversion_is_refused(base, tmp_path, name, content, message):
    convert(base, write_adapter(tmp_path / "source"), tmp_path / "out")
    path = tmp_path / "out" / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(AdapterError, match=message):
        list(load_adapter(tmp_path / "out").tensors())


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_not_finite_are_refused(base, tmp_path, number):
    tensors = lora_tensors()
    name = "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight"
    dtype, shape, data = tensors[name]
    wild = torch.tensor([float(number)]).numpy().tobytes()
    tensors[name] = dtype, shape, data[:80] + wild + data[84:]
    source = write_adapter(tmp_path / "source", tensors=tensors)
    with pytest.raises(AdapterError, match="NaN or infinity") as caught:
        convert(base, source, tmp_path / "out")
    assert str(source) in str(caught.value)
    assert f"NaN or infinity in {name} [1, 4]; supported: finite" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_files_that_are_damaged_but_sealed_are_refused(base, tmp_path):
    """Whoever writes both files can make the digests fit."""
    convert(base, write_adapter(tmp_path / "source"), tmp_path / "out")
    data = (tmp_path / "out" / "adapter.safetensors").read_bytes()
    save_adapter(tmp_path / "out", data, modules={}, source={})
    with pytest.raises(AdapterError, match=r"not the tensors of adapter\.json; convert"):
        list(load_adapter(tmp_path / "out").tensors())
    save_adapter(tmp_path / "out", b"\0" * 40, modules={}, source={})
    with pytest.raises(AdapterError, match=r"damaged .*; convert the adapter again"):
        list(load_adapter(tmp_path / "out").tensors())


def test_weights_that_change_under_way_are_refused(base, tmp_path, monkeypatch):
    source = write_adapter(tmp_path / "source")
    from ptefoundry.adapter import convert as module

    def fit_and_damage(adapter, *arguments, **keywords):
        (source / "adapter_model.safetensors").write_bytes(b"")
        return fit(adapter, *arguments, **keywords)

    fit = module.fit_adapter
    monkeypatch.setattr(module, "fit_adapter", fit_and_damage)
    with pytest.raises(AdapterError, match="changed while it was read"):
        convert(base, source, tmp_path / "out")
