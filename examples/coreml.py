"""The demo's base and adapters as one Core ML program: built, and on a Mac run and compared.

    python examples/coreml.py

Works in a workspace of its own below artifacts/, so that the demo's stays as it is; run again
it makes what changed. Building works on Linux as well.
"""

import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
WORKSPACE = ROOT / "artifacts" / "coreml-demo"
OPTIONS = {"context_length": 512, "input_length": 32, "linear": "c4w", "embedding": "8,0"}


def main() -> None:
    """Make the workspace, build its program, let it answer where that is possible."""
    if not (WORKSPACE / "params.yaml").exists():
        make_workspace()
    foundry("build", "--backend", "coreml")
    if sys.platform == "darwin":
        foundry("verify", "--answers")
    else:
        print("Core ML runs on Apple's systems only: what the program answers is not compared here")


def make_workspace() -> None:
    """A workspace with the demo's base and adapters, and backend `coreml`."""
    yaml = YAML()
    demo = yaml.load((ROOT / "params.yaml").read_text())
    base = demo["base"]
    named = ("--base", base["source"], "--base-name", base["name"], "--name", "assistant")
    subprocess.run(["ptefoundry", "init", WORKSPACE, *named], check=True)
    for name, adapter in demo["adapters"].items():
        foundry("adapter", "add", name, str(ROOT / adapter["source"].removeprefix("file:")))
    path = WORKSPACE / "params.yaml"
    params = yaml.load(path.read_text())
    params["backends"]["coreml"] = OPTIONS
    params["smoke"] = demo["smoke"]
    yaml.dump(params, path)


def foundry(*arguments: str) -> None:
    """Run a command in the workspace."""
    print(f"$ ptefoundry {' '.join(arguments)}", flush=True)
    subprocess.run(["ptefoundry", *arguments], cwd=WORKSPACE, check=True)


if __name__ == "__main__":
    main()
