"""Programs and foundations of tiny models, through the real exporter and ExecuTorch's runtime."""

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from integration.lowering.runtime import eager_logits, runtime_logits

from ptefoundry.adapter.convert import convert_adapter
from ptefoundry.base.convert import convert_base
from ptefoundry.errors import VerificationError
from ptefoundry.lowering import xnnpack
from ptefoundry.lowering.build import build_adapter, build_base
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.params import XnnpackParams
from support.tiny_models import save_tiny_adapter, save_tiny_base

PARAMS = XnnpackParams(context_length=48, prefill_length=16)
OTHERS = ("Qwen2ForCausalLM", "Qwen3ForCausalLM")


class Built:
    """One base with two adapters, canonical and compiled."""

    def __init__(
        self, root: Path, architecture: str, adapters: tuple[str, ...] = ("red", "blue")
    ) -> None:
        save_tiny_base(root / "base", architecture)
        convert_base(root / "base", root / "canonical")
        self.base, self.compiled = root / "canonical", root / "compiled"
        build_base(self.base, PARAMS, self.compiled)
        self.adapters = {name: root / f"{name}-canonical" for name in adapters}
        self.programs = {name: root / f"{name}.pte" for name in self.adapters}
        for seed, name in enumerate(self.adapters, start=1):
            save_tiny_adapter(root / "base", root / name, seed=seed)
            convert_adapter(root / name, self.base, self.adapters[name], base_name="")
            build_adapter(
                self.base, self.adapters[name], PARAMS, self.compiled, self.programs[name]
            )

    @property
    def foundation(self) -> Path:
        return self.compiled / "foundation.ptd"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("llama"), "LlamaForCausalLM")


@pytest.fixture(scope="module", params=["LlamaForCausalLM", *OTHERS])
def built_each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    if request.param not in OTHERS:
        return request.getfixturevalue("built")
    return Built(tmp_path_factory.mktemp("other"), request.param, adapters=("red",))


def test_programs_compute_what_the_eager_model_does(built_each: Built) -> None:
    built = built_each
    calls = [[5, 17, 9, 200, 31], [7], [8], [300, 2, 44]]
    variants = {None: built.compiled / "base.pte", **built.programs}
    results = {}
    for name, program in variants.items():
        adapter = built.adapters[name] if name else None
        results[name] = runtime_logits(program, built.foundation, calls)
        expected = eager_logits(built.base, adapter, PARAMS, calls)
        torch.testing.assert_close(results[name], expected, atol=1e-4, rtol=0)
    assert (results["red"] - results[None]).abs().max() > 0.1


def test_adapter_matrices_are_in_the_program_and_nothing_else(built: Built) -> None:
    foundation = read_ptd(built.foundation)
    base = read_pte(built.compiled / "base.pte")
    assert base.entries == ()
    assert base.needs == foundation.keys
    for program in built.programs.values():
        linked = read_pte(program)
        assert len(linked.entries) == 2 * 7 * 2  # layers, linears, A and B
        assert linked.needs == foundation.keys
        # What the adapter adds is its fp32 matrices and the text that computes with them.
        matrices = sum(entry.size for entry in linked.entries)
        assert linked.size - base.size < matrices + 64 * 1024


def test_metadata_says_what_a_runner_needs(built: Built) -> None:
    constants = read_pte(built.programs["red"]).constants
    assert constants["get_max_context_len"] == (48,)
    assert constants["get_max_seq_len"] == (16,)
    assert constants["get_eos_ids"] == (2,)
    assert constants["use_kv_cache"] == (True,)


def test_needed_passes_give_the_bytes_of_all_passes(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def all_passes() -> Iterator[None]:
        yield

    monkeypatch.setattr(xnnpack, "_needed_passes_only", all_passes)
    again = tmp_path / "red.pte"
    build_adapter(built.base, built.adapters["red"], PARAMS, built.compiled, again)
    assert again.read_bytes() == built.programs["red"].read_bytes()


def test_another_base_is_refused(built: Built, tmp_path: Path) -> None:
    save_tiny_base(tmp_path / "other", seed=5)
    convert_base(tmp_path / "other", tmp_path / "canonical")
    save_tiny_adapter(tmp_path / "other", tmp_path / "adapter")
    convert_adapter(tmp_path / "adapter", tmp_path / "canonical", tmp_path / "red", base_name="")
    into = tmp_path / "red.pte"
    with pytest.raises(VerificationError, match="come from different builds"):
        build_adapter(tmp_path / "canonical", tmp_path / "red", PARAMS, built.compiled, into)
    assert not into.exists()


def test_bytes_do_not_depend_on_process_or_folder(built: Built, tmp_path: Path) -> None:
    folder = tmp_path / "another"
    folder.mkdir()
    script = (
        "import sys; from pathlib import Path;"
        "from ptefoundry.lowering.build import build_base;"
        "from ptefoundry.params import XnnpackParams;"
        "build_base(Path(sys.argv[1]), XnnpackParams(context_length=48, prefill_length=16),"
        " Path(sys.argv[2]))"
    )
    subprocess.run(
        [sys.executable, "-c", script, built.base, folder / "compiled"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=folder,
        check=True,
        capture_output=True,
    )
    for name in ("base.pte", "foundation.ptd"):
        ours = hashlib.sha256((folder / "compiled" / name).read_bytes()).hexdigest()
        theirs = hashlib.sha256((built.compiled / name).read_bytes()).hexdigest()
        assert ours == theirs, name
