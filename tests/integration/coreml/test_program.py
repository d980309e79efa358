"""Programs as they are built for Apple's devices, read back here."""

import dataclasses
import gc
import json
import os
import subprocess
import sys

import pytest

from ptefoundry.coreml import program
from ptefoundry.coreml import sharing as sharing_module
from ptefoundry.coreml import units as units_module
from ptefoundry.coreml.build import PROGRAM_FILE, SHARING_FILE, build_program
from ptefoundry.coreml.lowering import lower_method
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.coreml.reading import read_program
from ptefoundry.coreml.sharing import check_sharing
from ptefoundry.coreml.units import with_units
from ptefoundry.digest import hash_file
from ptefoundry.errors import BuildError, ConfigError, VerificationError
from support import build_coreml as script
from support.adapter_parity import convert, make_base
from support.tiny_models import save_tiny_adapter

OPTIONS = {"context_length": 32, "input_length": 8, "multifunction": False}
QUANTIZED = {
    **OPTIONS,
    "multifunction": True,
    "linear": "c4w",
    "embedding": "8,0",
    "split_size": 64,
    "graph_breaks": False,
}


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
def held():
    """Bytes of all tensors in memory after each method of `built`."""
    return []


@pytest.fixture(scope="module")
def built(models, held, tmp_path_factory):
    base, adapters = models
    into = tmp_path_factory.mktemp("built") / "coreml"

    def lower(*arguments):
        lowered = lower_method(*arguments)
        held.append(_tensor_bytes())
        return lowered

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "lower_method", lower)
        return into, build_program(base, adapters, CoremlParams(**OPTIONS), into)


def _tensor_bytes():
    import torch

    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]
    stored = (one.untyped_storage() for one in tensors if one.device.type == "cpu")
    return sum({one.data_ptr(): one.nbytes() for one in stored}.values())


@pytest.fixture(scope="module")
def quantized(models, tmp_path_factory):
    """With quantized weights, split linears and methods of two lengths."""
    base, adapters = models
    into = tmp_path_factory.mktemp("quantized") / "coreml"
    return into, build_program(base, {"red": adapters["red"]}, CoremlParams(**QUANTIZED), into)


def _matrix_bytes(rank: int) -> int:
    """Of all seven linears of one tiny layer, in fp16."""
    shapes = [(64, 64), (32, 64), (32, 64), (64, 64), (128, 64), (128, 64), (64, 128)]
    return sum(rank * (rows + columns) for rows, columns in shapes) * 2


def test_an_adapter_uses_its_matrices_and_nothing_else(built):
    into, sharing = built
    variants = {one.adapter: one for one in sharing.variants}
    assert sharing.partitions == 3
    # The embedding table is the head's, in another model; a few constants are small and alike.
    assert 400 * 64 * 2 <= sharing.repeated_bytes < 400 * 64 * 2 + 512
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


def test_memory_does_not_grow_with_the_methods(built, held):
    """The last has an adapter of half the rank of the one before, and each the same base."""
    first, second, last = held
    assert second - first < _matrix_bytes(8) * 1.1
    assert last - second < _matrix_bytes(4) * 1.1


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


@pytest.mark.parametrize(
    ("which", "options", "names"),
    [("built", OPTIONS, ("my-blue", "red")), ("quantized", QUANTIZED, ("red",))],
    ids=["built", "quantized"],
)
def test_the_same_inputs_give_the_same_bytes(models, request, tmp_path, which, options, names):
    """In another process, folder and order of arguments, with other hashes of strings."""
    before, _ = request.getfixturevalue(which)
    base, adapters = models
    arguments = [f"{name}={adapters[name]}" for name in names]
    into = tmp_path / "somewhere" / "else"
    seed = "1" if os.environ.get("PYTHONHASHSEED", "random") != "1" else "2"
    subprocess.run(
        [sys.executable, script.__file__, base, json.dumps(options), into, *arguments],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
    )
    for name in (PROGRAM_FILE, SHARING_FILE):
        assert hash_file(into / name) == hash_file(before / name)


@pytest.mark.parametrize("units", ["cpu_and_ne", "cpu_only", "all", "cpu_and_gpu"])
def test_a_program_runs_where_it_is_told(built, units):
    from executorch.exir._serialize._program import deserialize_pte_binary

    path = built[0] / PROGRAM_FILE
    before = path.read_bytes()
    with with_units(path, units) as told:
        assert (told == path) is (units == "cpu_and_ne")
        after = told.read_bytes()
        plans = deserialize_pte_binary(after).program.execution_plan
        specs = [spec for plan in plans for one in plan.delegates for spec in one.compile_specs]
        values = {bytes(spec.value) for spec in specs if spec.key == "compute_units"}
    assert values == {units.encode()}
    assert len(after) == len(before)
    assert sum(one != other for one, other in zip(before, after, strict=True)) <= 9 * 12
    assert path.read_bytes() == before


def test_units_without_room_are_refused(built, monkeypatch):
    monkeypatch.setattr(units_module, "_ALIGNMENT", 1)
    with (
        pytest.raises(ConfigError, match=r"no room for cpu_and_gpu; set backends.coreml.compute_"),
        with_units(built[0] / PROGRAM_FILE, "cpu_and_gpu"),
    ):
        pytest.fail("entered")


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "fp32", "deployment_target": "iOS26", "compute_units": "cpu_and_gpu"},
        {"linear": "b4w", "embedding": "4,32", "compute_units": "all", "split_size": None},
    ],
    ids=["fp32", "4 bits"],
)
def test_other_options_give_a_program_too(models, tmp_path, options):
    params = CoremlParams(**OPTIONS, graph_breaks=False, **options)
    build_program(models[0], {}, params, tmp_path / "coreml")
    program = read_program(tmp_path / "coreml" / PROGRAM_FILE)
    assert program.program.constants["get_dtype"] == (params.dtype,)
    (model,) = program.models.values()
    assert model.model.specificationVersion == {"iOS18": 9, "iOS26": 10}[params.deployment_target]
    with with_units(tmp_path / "coreml" / PROGRAM_FILE, params.compute_units) as told:
        assert told.parent == tmp_path / "coreml"


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


def test_quantized_and_split_and_in_two_lengths(quantized):
    into, sharing = quantized
    program = read_program(into / PROGRAM_FILE)
    assert [method.name for method in program.methods] == [
        *("forward", "red_forward"),
        *("prefill", "red_prefill"),
    ]
    assert (sharing.partitions, sharing.repeated_bytes) == (1, 0)
    own = {one.adapter: one.own_bytes for one in sharing.variants}
    # Both lengths of an adapter use the same matrices, in fp16; quantized linears have no bias,
    # so that those of zeros are the adapter's own.
    assert own == {"base": 0, "red": _matrix_bytes(4) + (128 + 64 + 32) * 2}
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
            lambda lowered: {
                "parts": lowered.parts[:-1],
                "operators": (lowered.operators[0], lowered.operators[1] + lowered.operators[2]),
            },
            r"my-blue: expected 3 partitions .*, found 2.*; partition 2 .*: more .*linear.*, fewer",
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


def _second_copies(uses, methods, kept=lambda _blob: False):
    """Let some methods use copies of the base's weights."""
    base = uses.union("base")
    sizes = uses.sizes | {(model, -offset): uses.sizes[model, offset] for model, offset in base}
    changed = {
        method: {
            (model, -offset) if (model, offset) in base and not kept((model, offset)) else blob
            for blob in used
            for model, offset in [blob]
        }
        if method.name in methods
        else used
        for method, used in uses.methods.items()
    }
    return dataclasses.replace(uses, methods=changed, sizes=sizes)


def _without_the_largest(uses):
    """Let no adapter use the largest of the base's weights."""
    largest = max(uses.union("base"), key=uses.sizes.__getitem__)
    changed = {
        method: used if method.adapter == "base" else used - {largest}
        for method, used in uses.methods.items()
    }
    return dataclasses.replace(uses, methods=changed)


@pytest.mark.parametrize(
    ("which", "needed", "change", "message"),
    [
        (
            *("built", {"red": 4, "my-blue": 8}),
            lambda uses: _second_copies(uses, ("red", "my-blue")),
            r"adapter my-blue: expected at most \d+ bytes of weights beside the base's",
        ),
        (
            *("built", {"red": 4, "my-blue": 8}, _without_the_largest),
            r"the base: expected at most \d+ bytes of weights that no adapter uses, found 51200",
        ),
        (
            *("quantized", {"red": 4}),
            lambda uses: _second_copies(uses, ("prefill", "red_prefill")),
            r"the methods of base: expected the same weights of the base, but for \d+ bytes",
        ),
    ],
    ids=["adapters share a second base", "the base's own", "lengths"],
)
def test_a_base_that_is_stored_twice_is_found(request, monkeypatch, which, needed, change, message):
    folder, _ = request.getfixturevalue(which)
    read = sharing_module._read_uses
    monkeypatch.setattr(sharing_module, "_read_uses", lambda *given: change(read(*given)))
    bytes_needed = {name: _matrix_bytes(rank) + 256 for name, rank in needed.items()}
    with pytest.raises(VerificationError, match=message):
        check_sharing(read_program(folder / PROGRAM_FILE), bytes_needed)
