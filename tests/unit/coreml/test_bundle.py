import json
from pathlib import Path

from ptefoundry.bundle.assemble import assemble_bundle
from ptefoundry.bundle.manifest import load_manifest
from ptefoundry.digest import hash_bytes
from ptefoundry.params import load_params
from ptefoundry.toolchain import describe_section
from ptefoundry.workspace import Workspace

PARAMS = """\
bundle: {name: assistant}
base: {name: org/model, source: 'file:base'}
adapters: {red: {source: 'file:red'}}
backends: {coreml: {}}
smoke: {prompts: [hello]}
"""
PROGRAM = b"program"


def _write(root: Path, path: str, content: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(content)


def test_a_bundle_for_apple_s_devices_alone_has_one_program(tmp_path: Path) -> None:
    _write(tmp_path, "params.yaml", PARAMS.encode())
    digest = f"{hash_bytes(b'files')}\n".encode()
    for name in ("base/fetched", "adapters/fetched/red"):
        _write(tmp_path, f"artifacts/{name}.sha256", digest)
    _write(tmp_path, "artifacts/base/canonical/config.json", b"{}")
    _write(tmp_path, "artifacts/base/canonical/tokenizer/chat.json", b"{}")
    _write(tmp_path, "artifacts/compile/coreml/program.pte", PROGRAM)
    metrics = json.dumps({"program_sha256": hash_bytes(PROGRAM)}).encode()
    for name in ("base", "red"):
        _write(tmp_path, f"artifacts/smoke/coreml/{name}/metrics.json", metrics)
    assemble_bundle(Workspace(tmp_path), load_params(tmp_path), tmp_path / "bundle")
    manifest = load_manifest(tmp_path / "bundle")
    assert [entry.path for entry in manifest.files] == [
        *("coreml/program.pte", "model.json", "tokenizer/chat.json")
    ]
    assert [(one.adapter, one.method) for one in manifest.variants] == [
        *(("base", "forward"), ("red", "red_forward"))
    ]
    assert set(manifest.backends) == {"coreml"}
    # What its manifest says of packages must rebuild it.
    exporter = manifest.backends["coreml"]["exporter"]
    assert {"coremltools", "numpy", "protobuf"} <= set(exporter)
    assert exporter.items() <= describe_section("bundle").items()
