"""The demo bundle in a registry: push, pull, answers, an update of one adapter, a rollback.

    python examples/registry.py artifacts/bundle

Builds the bundle first, if something changed, and makes the registry meanwhile.

Starts an S3 server on this machine (SeaweedFS, loopback only), stops it at the end and
leaves nothing behind. What it does are commands that are printed before they run.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from ptefoundry.adapter.convert import convert_adapter
from ptefoundry.bundle.manifest import MANIFEST_FILE, MEASURED_FILE, FileEntry, load_manifest
from ptefoundry.digest import hash_file
from ptefoundry.files import place, write_json
from ptefoundry.lowering.build import build_adapter
from ptefoundry.registry.embedded import serve_s3

ROOT = Path(__file__).parents[1]
REGISTRY = "s3://models/registry"
ADAPTER, BACKEND = "nobel", "xnnpack"
PROMPTS = (
    "Who won the Nobel Prize in Physics in 2025?",
    "Help me get started with ExecuTorch in 3 steps",
)


def main() -> None:
    """Show it with the bundle that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    bundle = parser.parse_args().bundle.resolve()
    with tempfile.TemporaryDirectory(prefix="ptefoundry-demo-") as scratch, serve(Path(scratch)):
        try:
            show(bundle, Path(scratch))
        except subprocess.CalledProcessError as error:
            sys.exit(error.returncode)  # It has said why.


@contextmanager
def serve(scratch: Path) -> Iterator[None]:
    """An empty bucket on a server of its own; the commands' environment leads there."""
    import boto3

    with serve_s3(scratch / "seaweedfs") as server:
        os.environ.update(
            server.environment(),
            PTEFOUNDRY_REGISTRY=REGISTRY,
            PTEFOUNDRY_CACHE=str(scratch / "cache"),
        )
        boto3.client("s3").create_bucket(Bucket="models")
        yield


def show(bundle: Path, scratch: Path) -> None:
    """The life of two versions."""
    phone, key = scratch / "phone", scratch / "release.pem"
    with begun("registry", "init"):
        subprocess.run(["ptefoundry", "build"], check=True, cwd=ROOT)
    name = load_manifest(bundle).name
    stable, channel = f"{name}:stable", ("--channel", "stable", "--valid", "7d")
    foundry("keys", "generate", "--out", key)
    os.environ.update(
        PTEFOUNDRY_SIGNING_KEY=str(key), PTEFOUNDRY_TRUST=str(key.with_suffix(".pub"))
    )
    foundry("push", bundle, "--version", "1.0.0", *channel)
    print("\n# a phone takes one adapter, then all")
    foundry("pull", stable, "--backend", BACKEND, "--adapter", ADAPTER, "--to", phone)
    foundry("run", phone, "--adapter", ADAPTER, "--prompt", PROMPTS[0])
    foundry("pull", stable, "--to", phone)
    both = ("--adapter", "base", "--adapter", "executorch", "--max-new-tokens", "48")
    foundry("run", phone, *both, "--prompt", PROMPTS[1])
    print(f"\n# {ADAPTER} changes: the same matrices at three quarters of their strength")
    change_adapter(bundle, scratch / "changed", scratch / "adapter")
    foundry("push", scratch / "changed", "--version", "1.1.0", *channel)
    foundry("diff", f"{name}@1.0.0", f"{name}@1.1.0")
    foundry("pull", stable, "--to", phone)
    foundry("rollback", stable, "--valid", "7d", "--reason", "the old one was better")
    foundry("pull", stable, "--to", phone)
    foundry("log")


@contextmanager
def begun(*arguments: str) -> Iterator[None]:
    """A command that runs beside the block, and is shown after it."""
    command = ["ptefoundry", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        yield
        output, _ = running.communicate()
    show_command(arguments)
    print(output, end="", flush=True)
    if running.returncode:
        raise SystemExit(running.returncode)


def show_command(words: Sequence[str]) -> None:
    """Print a command as one would type it."""
    shown = [word.replace(f"{tempfile.gettempdir()}/", "") for word in words]
    print(f"\n$ ptefoundry {' '.join(f'{w!r}' if ' ' in w else w for w in shown)}", flush=True)


def foundry(*arguments: str | Path) -> None:
    """Print a command and run it."""
    words = [str(argument) for argument in arguments]
    show_command(words)
    command = Path(sys.executable).with_name("ptefoundry")
    subprocess.run([command, *words], check=True, cwd=ROOT)


def change_adapter(bundle: Path, into: Path, adapter: Path) -> None:
    """A bundle with another adapter, linked into the same template; the rest is shared."""
    shutil.copytree(ROOT / "examples" / "adapters" / ADAPTER, adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    write_json(
        adapter / "adapter_config.json", config | {"lora_alpha": config["lora_alpha"] * 0.75}
    )
    artifacts = ROOT / "artifacts"
    canonical = adapter.with_name("canonical")
    base = artifacts / "base" / "canonical"
    convert_adapter(adapter, base, canonical, base_name=config["base_model_name_or_path"])
    for path in bundle.rglob("*"):
        if path.is_file() and path.name not in {MANIFEST_FILE, MEASURED_FILE}:
            place(path, into / path.relative_to(bundle))
    program = f"{BACKEND}/{ADAPTER}.pte"
    build_adapter(
        canonical,
        artifacts / "compile" / BACKEND,
        artifacts / "foundation" / BACKEND,
        into / program,
    )
    manifest = load_manifest(bundle)
    changed = FileEntry(
        path=program,
        size=(into / program).stat().st_size,
        sha256=hash_file(into / program),
    )
    files = tuple(changed if entry.path == program else entry for entry in manifest.files)
    write_json(into / MANIFEST_FILE, asdict(replace(manifest, files=files)))


if __name__ == "__main__":
    main()
