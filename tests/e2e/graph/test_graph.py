"""What must hold of the build graph, by running it on a tiny model."""

import importlib.metadata
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ptefoundry.adapter.canonical import TENSORS_FILE, load_adapter, save_adapter
from ptefoundry.base.sources import content_digest
from ptefoundry.digest import hash_file
from ptefoundry.files import write_bytes, write_text
from ptefoundry.registry.facts import runtime_fits
from ptefoundry.registry.pack import pack_bundle
from support.tiny_models import save_tiny_adapter, save_tiny_base
from support.tiny_workspace import TinyWorkspace

ALL_STAGES = {
    "fetch-base",
    "convert-base",
    *(
        f"{stage}@{name}"
        for stage in ("fetch-adapter", "convert-adapter", "reference")
        for name in ("red", "blue")
    ),
    "reference-base",
    "signatures",
    "compile@xnnpack",
    "foundation@xnnpack",
    *(f"{stage}@xnnpack-{name}" for stage in ("link", "smoke") for name in ("red", "blue")),
    "build-runner",
    "smoke-base@xnnpack",
    "bundle",
}

FirstBuild = tuple[TinyWorkspace, list[str]]
MakeWorkspace = Callable[[], TinyWorkspace]


def _foundation(workspace: TinyWorkspace) -> Path:
    return workspace.root / "artifacts" / "foundation" / "xnnpack" / "foundation.ptd"


def test_first_build_runs_every_stage(first_build: FirstBuild) -> None:
    _, stages = first_build
    assert set(stages) == ALL_STAGES
    assert len(stages) == len(ALL_STAGES)


def test_second_run_executes_nothing(first_build: FirstBuild) -> None:
    workspace, _ = first_build
    assert workspace.repro() == []


def test_metrics_are_shown_by_dvc(first_build: FirstBuild) -> None:
    workspace, _ = first_build
    output = subprocess.run(
        workspace.dvc("metrics", "show", "--json"),
        cwd=workspace.root,
        env=workspace.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = json.loads(output)[""]["data"]
    shown = files["artifacts/smoke/xnnpack/red/metrics.json"]["data"]
    assert shown["parity"]["equal_tokens"] > 0
    assert shown["parity"]["prefill_logits"] < 1e-2
    assert shown["decode_tok_s"] > 0


def test_the_bundle_says_what_was_fetched_though_nothing_pins_it(first_build: FirstBuild) -> None:
    workspace, _ = first_build
    assert "digest" not in (workspace.root / "params.yaml").read_text()
    artifacts = workspace.root / "artifacts"
    packed = pack_bundle(artifacts / "bundle", version="1.0.0")
    found = {one.facts.adapter: one.facts for one in packed.variants}
    base = content_digest(artifacts / "base" / "fetched")
    assert {facts.base_digest for facts in found.values()} == {base}
    assert found["base"].adapter_digest is None
    for name in ("red", "blue"):
        adapter = artifacts / "adapters" / "fetched" / name
        assert found[name].adapter_digest == content_digest(adapter)


def test_the_bundle_can_be_packed_and_says_what_runs_it(first_build: FirstBuild) -> None:
    workspace, _ = first_build
    packed = pack_bundle(workspace.root / "artifacts" / "bundle", version="1.0.0")
    assert [item.facts.adapter for item in packed.variants] == ["base", "blue", "red"]
    executorch = importlib.metadata.version("executorch").partition("+")[0]
    for variant in packed.variants:
        assert variant.facts.executorch == executorch
        assert variant.facts.runtime is not None
        assert runtime_fits(variant.facts.runtime, executorch)


def test_changed_adapter_runs_only_its_chain(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.repro()
    foundation = _foundation(workspace)
    before = foundation.stat().st_mtime_ns, foundation.read_bytes()
    save_tiny_adapter(workspace.root / "models/base", workspace.root / "models/red", seed=77)
    assert sorted(workspace.repro()) == [
        "bundle",
        "convert-adapter@red",
        "fetch-adapter@red",
        "link@xnnpack-red",
        "reference@red",
        "smoke@xnnpack-red",
    ]
    assert (foundation.stat().st_mtime_ns, foundation.read_bytes()) == before


def test_export_option_rebuilds_programs_but_fetches_nothing(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.repro()
    unquantized = _foundation(workspace).stat().st_size
    workspace.replace_params(
        "context_length: 64", "context_length: 96\n    embedding: 4,32\n    linear: 8da4w,32"
    )
    assert sorted(workspace.repro()) == [
        "bundle",
        "compile@xnnpack",
        "foundation@xnnpack",
        "link@xnnpack-blue",
        "link@xnnpack-red",
        "quantized-reference-base@xnnpack",
        "quantized-reference@xnnpack-blue",
        "quantized-reference@xnnpack-red",
        "smoke-base@xnnpack",
        "smoke@xnnpack-blue",
        "smoke@xnnpack-red",
    ]
    assert _foundation(workspace).stat().st_size < unquantized / 3
    metrics = workspace.root / "artifacts/smoke/xnnpack/red/metrics.json"
    parity = json.loads(metrics.read_text())["parity"]
    assert parity["quantization"]["logits"] > parity["prefill_logits"]
    assert parity["rounding"]["logits"] > 0
    assert parity["equal_tokens"] > parity["rounded_tokens"]


def test_verify_compares_linked_programs_with_full_exports(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.repro()
    code, output = workspace.run("ptefoundry", "verify", "--relink", "--adapter", "red")
    assert (code, output.splitlines()[0]) == (0, "every file is as the manifest says"), output
    assert "xnnpack/red.pte: made anew it has the same bytes" in output
    assert "instead of exported" not in output
    bundle = workspace.root / "artifacts/bundle"
    programs = {name: bundle / f"xnnpack/{name}.pte" for name in ("red", "blue")}
    manifest = (bundle / "manifest.json").read_text()
    # Another adapter's program, in a bundle that is whole.
    wrong = manifest.replace(hash_file(programs["red"]), hash_file(programs["blue"]))
    write_text(bundle / "manifest.json", wrong)
    write_bytes(programs["red"], programs["blue"].read_bytes())
    assert workspace.run("ptefoundry", "verify")[0] == 0
    code, output = workspace.run("ptefoundry", "verify", "--relink", "--adapter", "red")
    assert code == 6
    assert "red.pte: expected the " in output


def test_adapters_of_two_kinds_share_a_template_where_asked_to(
    make_workspace: MakeWorkspace,
) -> None:
    workspace = make_workspace()
    models = workspace.root / "models"
    save_tiny_adapter(models / "base", models / "red", rank=2, targets=("q_proj",), seed=5)
    workspace.replace_params("    context_length", "    templates: shared\n    context_length")
    stages = workspace.repro()
    templates = workspace.root / "artifacts/compile/xnnpack"
    assert len(list(templates.iterdir())) == 2  # the base's, and one for both adapters
    assert {"link@xnnpack-red", "link@xnnpack-blue"} <= set(stages)
    code, output = workspace.run("ptefoundry", "verify", "--relink", "--adapter", "red")
    assert code == 0, output
    assert "xnnpack/red.pte: made anew it has the same bytes" in output
    assert "instead of exported: it was filled up with zeros" in output
    # One that needs more room than there is gives both another template.
    save_tiny_adapter(models / "base", models / "red", rank=12, targets=("q_proj",), seed=5)
    assert {"link@xnnpack-red", "link@xnnpack-blue"} <= set(workspace.repro())
    metrics = workspace.root / "artifacts/smoke/xnnpack/red/metrics.json"
    assert json.loads(metrics.read_text())["parity"]["equal_tokens"] > 0


def test_other_weights_of_a_base_compile_nothing(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.repro()
    foundation = hash_file(_foundation(workspace))
    save_tiny_base(workspace.root / "models/base", seed=5)
    stages = workspace.repro()
    assert {"convert-base", "foundation@xnnpack", "link@xnnpack-red", "bundle"} <= set(stages)
    assert not {"signatures", "compile@xnnpack", "convert-adapter@red"} & set(stages)
    assert hash_file(_foundation(workspace)) != foundation


def test_an_adapter_of_another_rank_is_compiled_for(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.repro()
    program = hash_file(workspace.root / "artifacts/link/xnnpack/blue.pte")
    save_tiny_adapter(workspace.root / "models/base", workspace.root / "models/red", rank=2)
    stages = workspace.repro()
    assert {"signatures", "compile@xnnpack", "link@xnnpack-red"} <= set(stages)
    # Templates of other adapters are the same, so nothing is linked from them again.
    assert not [name for name in stages if "blue" in name or name == "foundation@xnnpack"]
    assert hash_file(workspace.root / "artifacts/link/xnnpack/blue.pte") == program


def test_adding_an_adapter_builds_only_that(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.repro()
    save_tiny_adapter(workspace.root / "models/base", workspace.root / "models/green", seed=9)
    workspace.replace_params(
        "backends:\n", "  green:\n    source: file:models/green\n\nbackends:\n"
    )
    assert sorted(workspace.repro()) == [
        "bundle",
        "convert-adapter@green",
        "fetch-adapter@green",
        "link@xnnpack-green",
        "reference@green",
        "signatures",
        "smoke@xnnpack-green",
    ]
    manifest = json.loads((workspace.root / "artifacts/bundle/manifest.json").read_text())
    assert [variant["adapter"] for variant in manifest["variants"]] == [
        "base",
        "blue",
        "green",
        "red",
    ]


def test_a_wrong_conversion_fails_the_build(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    workspace.repro()
    folder = workspace.root / "artifacts/adapters/canonical/red"
    canonical = load_adapter(folder)
    data = bytearray((folder / TENSORS_FILE).read_bytes())
    data[-64:] = b"\x3f" * 64  # sixteen weights become 0.74
    save_adapter(folder, bytes(data), modules=canonical.modules, source=canonical.source)
    process = workspace.start("--single-item", "reference@red")
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "the conversion is wrong" in output
    assert not (workspace.root / "artifacts/reference/red").exists()


def test_a_stage_refuses_another_toolchain(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    path = workspace.root / "toolchain.json"
    pinned = json.loads(path.read_text())
    pinned["fetch"]["python"] = "2.7"
    path.write_text(json.dumps(pinned))
    process = workspace.start("fetch-base")
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "fetch.python: pinned 2.7" in output
    assert not (workspace.root / "artifacts/base/fetched").exists()


def test_a_stage_refuses_a_stale_graph(make_workspace: MakeWorkspace) -> None:
    workspace = make_workspace()
    path = workspace.root / "params.yaml"
    # The base's name too, or DVC restores the stage from the shared cache instead of running it.
    path.write_text(path.read_text().replace("  red:", "  rot:").replace("tests/tiny", "other"))
    process = workspace.start("fetch-base")
    output, _ = process.communicate()
    assert process.returncode != 0
    assert "run `ptefoundry build`" in output


def test_killed_builds_end_in_the_same_bytes(
    first_build: FirstBuild, make_workspace: MakeWorkspace, tmp_path: Path
) -> None:
    """Everything that makes files of a bundle, in a cache of its own, so nothing is restored."""
    targets = ("link@xnnpack-red", "link@xnnpack-blue")
    workspace = make_workspace()
    subprocess.run(
        workspace.dvc("config", "cache.dir", str(tmp_path / "cache")),
        cwd=workspace.root,
        check=True,
    )
    chance = random.Random(7)
    for _ in range(5):
        process = workspace.start(*targets)
        time.sleep(chance.uniform(2, 20))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    workspace.repro(*targets)
    # The adapters' configurations name the folder of the base, so only tensors and programs.
    for name in (
        "base/canonical/model.safetensors",
        "adapters/canonical/red/adapter.safetensors",
        "foundation/xnnpack/base.pte",
        "foundation/xnnpack/foundation.ptd",
        "link/xnnpack/red.pte",
        "link/xnnpack/blue.pte",
    ):
        built = workspace.root / "artifacts" / name
        assert hash_file(built) == hash_file(first_build[0].root / "artifacts" / name), name
    assert workspace.repro(*targets) == []
    assert not list((workspace.root / "artifacts").rglob(".*.tmp"))
