"""Where linked bytes are other than those of an export."""

from pathlib import Path

import pytest

from ptefoundry.errors import AdapterError
from ptefoundry.lowering.build import build_foundation
from ptefoundry.lowering.departures import find_departure
from support import golden_template as golden
from support.golden_template import TEMPLATES, W2, WQ


@pytest.fixture(scope="module")
def foundation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("plain")
    build_foundation(golden.write_base(root / "base"), TEMPLATES, root / "built")
    return root / "built"


def test_all_tensors_differ_as_a_rule(foundation: Path, tmp_path: Path) -> None:
    assert find_departure(foundation, None) is None
    assert find_departure(foundation, golden.write_adapter(tmp_path / "red")) is None


def test_equal_matrices_are_named(foundation: Path, tmp_path: Path) -> None:
    tensors = golden.adapter_tensors()
    tensors[f"{W2}.lora_a"] = ("F32", (2, 24), b"\1" * 192)
    tensors[f"{WQ}.lora_a"] = ("F32", (8, 6), b"\1" * 192)
    found = find_departure(foundation, golden.write_adapter(tmp_path / "red", tensors))
    assert found == f"{W2}.lora_a equals {WQ}.lora_a, and an export stores them once"


def test_zeros_are_named(foundation: Path, tmp_path: Path) -> None:
    tensors = golden.adapter_tensors()
    tensors[f"{WQ}.lora_b"] = ("F32", (16, 8), bytes(512))
    found = find_departure(foundation, golden.write_adapter(tmp_path / "red", tensors))
    assert found is not None
    assert found.startswith(f"{WQ}.lora_b has zeros only")


def test_equal_norms_of_a_base_are_named(tmp_path: Path) -> None:
    tensors = golden.base_tensors()
    tensors["norm.weight"] = tensors["layers.0.ffn_norm.weight"]
    wk, wv = "layers.0.attention.wk.weight", "layers.0.attention.wv.weight"
    tensors[wv] = tensors[wk]  # makes no difference: the delegate's keys are digests
    build_foundation(golden.write_base(tmp_path / "base", tensors), TEMPLATES, tmp_path / "built")
    for adapter in (None, golden.write_adapter(tmp_path / "red")):
        found = find_departure(tmp_path / "built", adapter)
        assert found is not None
        assert "norm.weight of the base equals " in found


def test_altered_adapters_are_refused(foundation: Path, tmp_path: Path) -> None:
    adapter = golden.write_adapter(tmp_path / "red")
    path = adapter / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(AdapterError, match=r"adapter\.safetensors: sha256: expected"):
        find_departure(foundation, adapter)
