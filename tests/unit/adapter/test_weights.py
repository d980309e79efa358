import struct

import pytest

from ptefoundry.adapter.weights import WEIGHTS_FILE, read_weights
from support.tiny_adapters import filled, fp32, lora_tensors, write_adapter, write_tensors

Q0 = "base_model.model.model.layers.0.self_attn.q_proj"
NAN = {"F32": struct.pack("<f", float("nan")), "F16": b"\x00\x7e", "BF16": b"\xc0\x7f"}
INFINITY = {"F32": struct.pack("<f", float("inf")), "F16": b"\x00\xfc", "BF16": b"\x80\xff"}


def problems_of(folder, tensors):
    _weights, problems = read_weights(write_adapter(folder, tensors=tensors))
    assert all(problem.file == WEIGHTS_FILE for problem in problems)
    return problems


def problem_of(folder, tensors):
    (problem,) = problems_of(folder, tensors)
    return problem


def test_index_of_a_good_file(tmp_path):
    folder = write_adapter(tmp_path)
    weights, problems = read_weights(folder)
    assert problems == []
    assert weights.size == (folder / WEIGHTS_FILE).stat().st_size
    assert weights.spelling == "peft"
    assert weights.modules() == [
        f"model.layers.{layer}.self_attn.{name}"
        for layer in (0, 1)
        for name in ("q_proj", "v_proj")
    ]
    matrix = weights.matrices["model.layers.1.self_attn.v_proj", "b"]
    assert (matrix.dtype, matrix.shape, matrix.rank) == ("F32", (8, 2), 2)
    assert matrix.not_finite_at is None
    assert not matrix.is_zero


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_is_read(tmp_path, dtype):
    tensors = {
        name: filled(tensor, b"\x00\x3c", dtype=dtype) for name, tensor in lora_tensors().items()
    }
    weights, problems = read_weights(write_adapter(tmp_path, tensors=tensors))
    assert problems == []
    assert {matrix.dtype for matrix in weights.matrices.values()} == {dtype}


@pytest.mark.parametrize("bad", [NAN, INFINITY])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_numbers_that_are_not_finite_are_refused(tmp_path, dtype, bad):
    tensors = lora_tensors()
    name = f"{Q0}.lora_B.weight"
    tensors[name] = filled(tensors[name], bad[dtype], dtype=dtype)
    problem = problem_of(tmp_path, tensors)
    assert problem.found == f"NaN or infinity in {name} [0, 0]"
    assert "finite" in problem.supported


def test_the_first_number_that_is_not_finite_is_named(tmp_path):
    tensors = lora_tensors()
    name = f"{Q0}.lora_A.weight"
    dtype, shape, data = tensors[name]
    assert shape == (2, 16)
    # The last number of the first row, and one behind it.
    tensors[name] = dtype, shape, data[:60] + INFINITY["F32"] + NAN["F32"] + data[68:]
    assert problem_of(tmp_path, tensors).found == f"NaN or infinity in {name} [0, 15]"


def test_untrained_matrices_are_noticed(tmp_path):
    tensors = lora_tensors()
    tensors[f"{Q0}.lora_B.weight"] = filled(tensors[f"{Q0}.lora_B.weight"], bytes(4))
    weights, problems = read_weights(write_adapter(tmp_path, tensors=tensors))
    assert problems == []
    zeros = [matrix.name for matrix in weights.matrices.values() if matrix.is_zero]
    assert zeros == [f"{Q0}.lora_B.weight"]


def test_other_types_are_refused(tmp_path):
    tensors = lora_tensors()
    name = f"{Q0}.lora_A.weight"
    tensors[name] = ("F64", (2, 16), bytes(2 * 16 * 8))
    problem = problem_of(tmp_path, tensors)
    assert problem.found == f"types {name} F64"
    assert problem.supported == "BF16, F16, F32"


@pytest.mark.parametrize("shape", [(2, 2, 8), (32,), (), (0, 16)])
def test_other_numbers_of_dimensions_are_refused(tmp_path, shape):
    tensors = lora_tensors()
    name = f"{Q0}.lora_A.weight"
    tensors[name] = fp32(*shape)
    problem = problem_of(tmp_path, tensors)
    assert problem.found == f"shapes {name} {list(shape)}"
    assert problem.supported == "lora_A [rank, in] and lora_B [out, rank]"


def test_a_matrix_without_its_partner_is_refused(tmp_path):
    tensors = lora_tensors()
    del tensors[f"{Q0}.lora_A.weight"]
    assert problem_of(tmp_path, tensors).found == f"no partner of {Q0}.lora_B.weight"


def test_partners_of_different_ranks_are_refused(tmp_path):
    tensors = lora_tensors()
    tensors[f"{Q0}.lora_A.weight"] = fp32(4, 16)
    found = problem_of(tmp_path, tensors).found
    assert found == f"different ranks of {Q0}.lora_A.weight 4 and {Q0}.lora_B.weight 2"


def test_two_names_of_one_matrix_are_refused(tmp_path):
    tensors = lora_tensors()
    twin = f"{Q0}.lora_A.default.weight"
    tensors[twin] = tensors[f"{Q0}.lora_A.weight"]
    found = problem_of(tmp_path, tensors).found
    assert found == f"two names of one matrix: {twin} and {Q0}.lora_A.weight"


def test_two_spellings_in_a_file_are_refused(tmp_path):
    tensors = lora_tensors(layers=[0])
    tensors["layers.1.mlp.w1.lora_a.weight"] = fp32(2, 16)
    tensors["layers.1.mlp.w1.lora_b.weight"] = fp32(24, 2)
    assert problem_of(tmp_path, tensors).found == "names of peft, torchtune"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"{Q0}.lora_magnitude_vector", "DoRA"),
        (f"{Q0}.lora_B.bias", "lora_bias"),
        (f"{Q0}.bias", "a trained bias"),
        ("base_model.model.model.embed_tokens.lora_embedding_A", "embedding"),
        ("base_model.model.lm_head.lora_A.weight", "output head"),
        ("base_model.model.model.norm.weight", "not a LoRA matrix"),
        ("layers.0.attention.wq.lora_a.weight", "Meta's spelling"),
    ],
)
def test_other_tensors_are_refused_by_name(tmp_path, name, kind):
    problem = problem_of(tmp_path, {**lora_tensors(), name: fp32(16)})
    assert name in problem.found
    assert kind in problem.found
    assert "q_proj" in problem.supported


def test_an_adapter_of_which_no_tensor_matches_is_refused(tmp_path):
    names = [f"base_model.model.transformer.h.0.attn.c_attn.lora_{x}.weight" for x in "AB"]
    others, nothing = problems_of(tmp_path, dict.fromkeys(names, fp32(2, 16)))
    assert ", ".join(names) in others.found
    assert nothing.found == "no LoRA matrix at all"


def test_an_empty_file_of_tensors_is_refused(tmp_path):
    assert problem_of(tmp_path, {}).found == "no LoRA matrix at all"


def test_many_names_are_counted(tmp_path):
    names = [f"base_model.model.model.layers.0.{number}.bias" for number in range(10)]
    problem = problem_of(tmp_path, {**lora_tensors(), **dict.fromkeys(names, fp32(1))})
    assert problem.found.endswith(f"{names[5]} and 4 more")


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt"])
def test_a_pickle_is_named_with_a_way_to_convert_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x04.")
    _weights, (problem,) = read_weights(tmp_path)
    assert name in problem.found
    assert f"torch.load('{name}', weights_only=True)" in problem.supported
    assert f"'{WEIGHTS_FILE}'" in problem.supported


def test_missing_weights_tell_what_is_there_instead(tmp_path):
    (tmp_path / "adapters.safetensors").write_bytes(b"")
    _weights, (problem,) = read_weights(tmp_path)
    assert problem.found == "no such file, beside it adapters.safetensors"


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / WEIGHTS_FILE).mkdir()
    _weights, (problem,) = read_weights(tmp_path)
    assert (problem.file, problem.field) == (WEIGHTS_FILE, "file")


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"<html>" * 100, bytes(64)])
def test_files_of_other_formats_are_refused(tmp_path, content):
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    _weights, (problem,) = read_weights(tmp_path)
    assert f"{len(content)} bytes that are no whole safetensors file" in problem.found
    assert "copy it again" in problem.supported


@pytest.mark.parametrize("kept", [7, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    write_tensors(tmp_path / "whole", lora_tensors())
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / WEIGHTS_FILE).write_bytes(data[:kept])
    _weights, (problem,) = read_weights(tmp_path)
    assert "no whole safetensors file" in problem.found
