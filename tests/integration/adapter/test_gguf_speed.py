"""The faster GGUF loading reads what gguf's own reader reads."""

import gguf
import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM

from ptefoundry.errors import CheckpointError
from ptefoundry.model.gguf_speed import TOKENIZER_FIELDS, fast_gguf
from ptefoundry.model.reference import load_reference
from support.tiny_checkpoints import save_gguf


@pytest.fixture(params=["LlamaForCausalLM", "Qwen2ForCausalLM"])
def base(request, bases):
    """Without Qwen3: transformers does not read the size of its heads from GGUF."""
    return bases[request.param]


@pytest.fixture
def path(base, tmp_path):
    return save_gguf(base.source, tmp_path / "gguf", kind="Q8_0")


def same_arrays(one, other):
    return one.dtype == other.dtype and numpy.array_equal(one, other)


def test_metadata_and_tensors_are_the_same(path):
    plain = gguf.GGUFReader(path)
    with fast_gguf():
        fast = gguf.GGUFReader(path)
    dropped = [plain.fields.pop(name) for name in TOKENIZER_FIELDS if name in plain.fields]
    assert dropped
    assert list(fast.fields) == list(plain.fields)
    assert "tokenizer.ggml.tokens" in fast.fields
    for name, field in plain.fields.items():
        found = fast.fields[name]
        assert (found.data, found.types) == (field.data, field.types)
        assert len(found.parts) == len(field.parts)
        assert all(map(same_arrays, found.parts, field.parts))
        assert found.contents() == field.contents()
    assert len(fast.tensors) == len(plain.tensors)
    for found, tensor in zip(fast.tensors, plain.tensors, strict=True):
        assert (found.name, found.tensor_type) == (tensor.name, tensor.tensor_type)
        assert same_arrays(found.data, tensor.data)


def test_models_are_the_same_to_the_bit(base, path):
    settings = {"gguf_file": path.name, "dtype": torch.float32}
    plain = AutoModelForCausalLM.from_pretrained(path.parent, **settings).state_dict()
    fast = load_reference(path.parent, None, base.canonical).state_dict()
    assert fast.keys() == plain.keys()
    assert all(torch.equal(fast[name], plain[name]) for name in plain)


def test_a_file_is_parsed_once(base, path, monkeypatch):
    parsed, build = [], gguf.GGUFReader._build_fields

    def counted(reader, *arguments):
        parsed.append(reader)
        return build(reader, *arguments)

    monkeypatch.setattr(gguf.GGUFReader, "_build_fields", counted)
    load_reference(path.parent, None, base.canonical)
    assert len(parsed) == 1


def test_gguf_is_left_as_it_was(llama, tmp_path):
    before = gguf.GGUFReader, gguf.get_tensor_name_map
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(CheckpointError, match="transformers cannot load the base"):
        load_reference(tmp_path, None, llama.canonical)
    assert (gguf.GGUFReader, gguf.get_tensor_name_map) == before
