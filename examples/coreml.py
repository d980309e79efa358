"""The demo's base and adapters as one Core ML program: built, compared, published, pulled, run.

    python examples/coreml.py

Works in a workspace of its own below artifacts/, so that the demo's stays as it is; run again
it makes what changed. Where there is no Core ML the program is built and published, not run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from ptefoundry.bundle.manifest import load_manifest

ROOT = Path(__file__).parents[1]
WORKSPACE = ROOT / "artifacts" / "coreml-demo"
OPTIONS = {"context_length": 512, "input_length": 32, "linear": "c4w", "embedding": "8,0"}
UNITS = ("--compute-units", "cpu_only")
"""What every Mac has, virtual ones as well."""
PROMPT = "Who won the Nobel Prize in Physics in 2025?"


def main() -> None:
    """Make the workspace, build its program, and show it."""
    if not (WORKSPACE / "params.yaml").exists():
        make_workspace()
    foundry(WORKSPACE, "build")
    runs = sys.platform == "darwin"
    if not runs:
        print("Core ML runs on Apple's systems only: here the program is not run, and not compared")
    show(WORKSPACE, adapter="nobel", prompt=PROMPT, runs=runs)


def make_workspace() -> None:
    """A workspace with the demo's base and adapters, and backend `coreml` alone."""
    yaml = YAML()
    demo = yaml.load((ROOT / "params.yaml").read_text())
    base = demo["base"]
    named = ("--base", base["source"], "--base-name", base["name"], "--name", "assistant")
    foundry(ROOT, "init", str(WORKSPACE), *named)
    for name, adapter in demo["adapters"].items():
        source = str(ROOT / adapter["source"].removeprefix("file:"))
        foundry(WORKSPACE, "adapter", "add", name, source)
    path = WORKSPACE / "params.yaml"
    params = yaml.load(path.read_text())
    params["backends"] = {"coreml": OPTIONS}
    params["smoke"] = demo["smoke"]
    yaml.dump(params, path)


def show(workspace: Path, *, adapter: str, prompt: str, runs: bool) -> None:
    """Compare a workspace's bundle, let it answer, publish it, and let what was pulled answer.

    Args:
        workspace: with a bundle that was built.
        adapter: that answers.
        prompt: what it answers.
        runs: whether this machine runs the program.
    """
    artifacts = workspace / "artifacts"
    bundle, pulled, registry = (artifacts / name for name in ("bundle", "phone", "registry"))
    key = artifacts / "release.pem"
    for folder in (pulled, registry):
        shutil.rmtree(folder, ignore_errors=True)
    os.environ["PTEFOUNDRY_REGISTRY"] = f"file:{registry}"
    if not key.exists():
        foundry(workspace, "keys", "generate", "--out", str(key))
    os.environ |= {
        "PTEFOUNDRY_SIGNING_KEY": str(key),
        "PTEFOUNDRY_TRUST": str(key.with_suffix(".pub")),
    }
    answers = ("--backend", "coreml", "--adapter", adapter, "--prompt", prompt, *UNITS)
    if runs:
        foundry(workspace, "verify", "--answers", str(bundle), *UNITS)
        foundry(workspace, "run", str(bundle), *answers)
    foundry(workspace, "registry", "init")
    channel = ("--channel", "stable", "--valid", "7d")
    foundry(workspace, "push", str(bundle), "--version", "1.0.0", *channel)
    stable = f"{load_manifest(bundle).name}:stable"
    foundry(workspace, "pull", stable, "--backend", "coreml", "--to", str(pulled))
    if runs:
        foundry(workspace, "run", str(pulled), *answers)


def foundry(where: Path, *arguments: str) -> None:
    """Print a command and run it in a folder."""
    print(f"$ ptefoundry {' '.join(arguments)}", flush=True)
    command = Path(sys.executable).with_name("ptefoundry")
    subprocess.run([command, *arguments], cwd=where, check=True)


if __name__ == "__main__":
    main()
