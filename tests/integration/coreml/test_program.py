"""Programs as they are built for Apple's devices, read back here."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from ptefoundry.coreml import program
from ptefoundry.coreml.build import PROGRAM_FILE, SHARING_FILE, build_program
from ptefoundry.coreml.lowering import lower_method
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.reading import read_program
from ptefoundry.coreml.sharing import check_sharing
from ptefoundry.digest import hash_file
from ptefoundry.errors import BuildError, VerificationError
from support import build_coreml as script
from support.adapter_parity import convert, make_base
from support.tiny_models import save_tiny_adapter

OPTIONS = {"context_length": 32, "input_length": 8, "multifunction": False}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A base of one layer and two adapters: canonical folders."""
    folder = tmp_path_factory.mktemp("models")
    base = make_base(folder, num_hidden_layers=1)
    adapters = {}
    for seed, (name, rank) in enumerate({"red": 4, "my-blue": 8}.items(), start=1):
        save_tiny_adapter(base.source, folder / name, seed=seed, rank=rank)
        adapters[name] = convert(base, folder / name)
    return base.canonical, adapters


@pytest.fixture(scope="module")
def built(models, tmp_path_factory):
    base, adapters = models
    into = tmp_path_factory.mktemp("built") / "coreml"
    return into, build_program(base, adapters, CoremlParams(**OPTIONS), into)


def _matrix_bytes(rank: int) -> int:
    """Of all seven linears of one tiny layer, in fp16."""
    shapes = [(64, 64), (32, 64), (32, 64), (64, 64), (128, 64), (128, 64), (64, 128)]
    return sum(rank * (rows + columns) for rows, columns in shapes) * 2


def test_an_adapter_uses_its_matrices_and_nothing_else(built):
    into, sharing = built
    variants = {one.adapter: one for one in sharing.variants}
    assert sharing.partitions == 3
    assert {name: one.own_bytes for name, one in variants.items()} == {
        "base": 0,
        "red": _matrix_bytes(4),
        "my-blue": _matrix_bytes(8),
    }
    assert all(one.text_bytes > 0 for one in variants.values())
    assert json.loads((into / SHARING_FILE).read_text()) == json.loads(
        json.dumps(sharing.to_dict())
    )
    assert sorted(path.name for path in into.iterdir()) == [PROGRAM_FILE, SHARING_FILE]
    assert sorted(path.name for path in into.parent.iterdir()) == ["coreml"]


def test_a_program_says_what_it_has(built):
    program = read_program(built[0] / PROGRAM_FILE)
    assert [(one.adapter, one.name, one.function) for one in program.methods] == [
        ("base", "forward", "forward"),
        ("my-blue", "my-blue", "my_blue"),
        ("red", "red", "red"),
    ]
    assert set(program.program.entry_points) == {"forward", "my-blue", "red"}
    constants = program.program.constants
    assert constants["get_adapters"] == ("base", "my-blue", "red")
    assert constants["get_max_context_len"] == (32,)
    assert constants["get_cache_shape"] == (1, 2, 31, 16)
    assert constants["get_eos_ids"] == (2,)


def test_the_same_inputs_give_the_same_bytes(models, built, tmp_path):
    """In another process, folder and order of arguments, with other hashes of strings."""
    base, adapters = models
    arguments = [f"{name}={folder}" for name, folder in reversed(adapters.items())]
    into = tmp_path / "somewhere" / "else"
    seed = "1" if os.environ.get("PYTHONHASHSEED", "random") != "1" else "2"
    subprocess.run(
        [sys.executable, script.__file__, base, json.dumps(OPTIONS), into, *arguments],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
    )
    for name in (PROGRAM_FILE, SHARING_FILE):
        assert hash_file(into / name) == hash_file(built[0] / name)


def test_executorch_and_coremltools_read_the_models(built, tmp_path):
    import coremltools
    import numpy as np
    from coremltools.converters.mil.frontend.milproto.load import load
    from executorch.examples.apple.coreml.scripts.extract_coreml_models import (
        extract_coreml_models,
    )

    program = read_program(built[0] / PROGRAM_FILE)
    found = extract_coreml_models((built[0] / PROGRAM_FILE).read_bytes(), tmp_path / "models")
    assert len(found) == 3
    shared = []
    for folder in found:
        package = folder / "lowered_module" / "model.mlpackage"
        model = coremltools.models.MLModel(str(package), skip_model_load=True)
        spec = model.get_spec()
        assert [one.name for one in spec.description.functions] == ["forward", "my_blue", "red"]
        assert spec.description.defaultFunctionName == "forward"
        loaded = load(spec, spec.specificationVersion, model.weights_dir)
        for function in ("my_blue", "red"):
            shared.append(_equal_constants(np, loaded, "forward", function))
        stored = program.models[folder.name]
        assert sorted(stored.files) == sorted(
            path.relative_to(folder / "lowered_module").as_posix()
            for path in folder.rglob("*")
            if path.is_file()
        )
    # The layer's partition has the base's nine tensors in each method.
    assert max(shared) >= 9


def _equal_constants(np, program, one: str, other: str) -> int:
    """Number of large constants of a function that another one has too."""

    def constants(name: str) -> list[bytes]:
        found = []
        for operation in program.functions[name].operations:
            if operation.op_type == "const":
                value = np.asarray(operation.outputs[0].val)
                if value.dtype.kind == "f" and value.size >= 64:
                    found.append(value.tobytes())
        return found

    return len({*constants(one)} & {*constants(other)})


def test_quantized_and_split_and_in_two_lengths(models, tmp_path):
    base, adapters = models
    params = CoremlParams(
        context_length=32,
        input_length=8,
        linear="c4w",
        embedding="8,0",
        split_size=64,
        graph_breaks=False,
    )
    sharing = build_program(base, {"red": adapters["red"]}, params, tmp_path / "coreml")
    program = read_program(tmp_path / "coreml" / PROGRAM_FILE)
    assert [method.name for method in program.methods] == [
        *("forward", "red_forward"),
        *("prefill", "red_prefill"),
    ]
    assert sharing.partitions == 1
    own = {one.adapter: one.own_bytes for one in sharing.variants}
    # Both lengths of an adapter use the same matrices, in fp16; no piece of the base has 128
    # rows as lora_b of w1 has, so that its bias of zeros is the adapter's own.
    assert own == {"base": 0, "red": _matrix_bytes(4) + 128 * 2}
    # 4 bits for each weight of a linear, 8 for the embedding, and scales; fp16 would need 4 times.
    linears = (
        sum(rows * columns for rows, columns in [(64, 64)] * 2 + [(32, 64)] * 2) + 3 * 64 * 128
    )
    integers = (linears + 400 * 64) // 2 + 400 * 64
    assert integers < sharing.shared_bytes < 1.2 * integers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lowered: {"parts": lowered.parts[:-1]},
            "method my-blue: expected 3 partitions as in method forward, found 2",
        ),
        (lambda _lowered: {"left": ("aten.sin",)}, r"method my-blue: .* leaves \(aten.sin\)"),
    ],
    ids=["partitions", "operators"],
)
def test_methods_that_cannot_share_weights_are_refused(
    models, tmp_path, monkeypatch, change, message
):
    def lower(model, example, method, params, scratch):
        lowered = lower_method(model, example, method, params, scratch)
        changed = change(lowered) if method.adapter == "my-blue" else {}
        return dataclasses.replace(lowered, **changed)

    monkeypatch.setattr(program, "lower_method", lower)
    base, adapters = models
    with pytest.raises(BuildError, match=message):
        build_program(
            base, {"my-blue": adapters["my-blue"]}, CoremlParams(**OPTIONS), tmp_path / "coreml"
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_shared_is_found(built):
    program = read_program(built[0] / PROGRAM_FILE)
    with pytest.raises(VerificationError, match=r"adapter red: expected at most .* found 8192"):
        check_sharing(program, {"red": _matrix_bytes(4) - 200, "my-blue": _matrix_bytes(8)})
    with pytest.raises(VerificationError, match="expected the adapters green, red"):
        check_sharing(program, {"red": 1, "green": 1})
