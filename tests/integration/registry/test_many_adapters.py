"""What a device moves when one adapter of two hundred has changed."""

import os
from pathlib import Path

import pytest

from ptefoundry.registry.names import COMPRESSED
from support.packed import NAME, add_adapters, copy_bundle, replace_file
from support.shell import QuickShell
from support.static_server import serve_folder

COUNT, CHANGED = 200, "adapter_007"
ALLOWED = 64 << 10
"""Bytes besides the adapter's own."""


@pytest.mark.parametrize("signed", [False, True])
def test_an_update_costs_its_adapter_and_64_kib(tmp_path: Path, signed: bool) -> None:
    shell = QuickShell(tmp_path)
    bundle = copy_bundle(tmp_path / "bundle")
    add_adapters(bundle, COUNT)
    shell.run("keys", "generate", "--out", "key.pem")
    key, trust = (("--key", "key.pem"), ("--trust", "key.pub")) if signed else ((), ())

    def push(version: str) -> None:
        shell.run("push", "bundle", "--registry", "file:registry", "--version", version, *key)

    shell.run("registry", "init", "file:registry")
    push("1.0.0")
    program = bundle / "xnnpack" / f"{CHANGED}.pte"
    replace_file(bundle, f"xnnpack/{CHANGED}.pte", program.read_bytes() + b"trained again")
    push("1.1.0")
    with serve_folder(tmp_path / "registry") as server:

        def pull(version: str) -> int:
            before = server.sent
            wanted = (f"{NAME}@{version}", "--adapter", CHANGED, "--to", "app")
            shell.run("pull", server.url, *wanted, *trust)
            return server.sent - before

        first, update = pull("1.0.0"), pull("1.1.0")
    assert (tmp_path / "app" / "xnnpack" / f"{CHANGED}.pte").read_bytes() == program.read_bytes()
    assert first > update
    assert program.stat().st_size < update < program.stat().st_size + ALLOWED


def test_a_copy_that_was_altered_or_lost_is_done_without(tmp_path: Path) -> None:
    shell = QuickShell(tmp_path)
    add_adapters(copy_bundle(tmp_path / "bundle"), COUNT)
    shell.run("registry", "init", "file:registry")
    shell.run("push", "bundle", "--registry", "file:registry", "--version", "1.0.0")
    # Of the index, and of the bill of materials.
    copies = {path: path.read_bytes() for path in (tmp_path / "registry" / COMPRESSED).iterdir()}
    assert copies
    for number, damage in enumerate((None, bytes, lambda data: data[:-9], os.urandom)):
        for copy, packed in copies.items():
            copy.unlink(missing_ok=True)
            if damage is not None:
                copy.write_bytes(damage(len(packed)) if damage is os.urandom else damage(packed))
        cache = {"PTEFOUNDRY_CACHE": str(tmp_path / f"cache{number}")}
        wanted = ("--adapter", CHANGED, "--to", f"app{number}")
        shell.run("pull", "file:registry", f"{NAME}@1.0.0", *wanted, **cache)
        assert (tmp_path / f"app{number}" / "xnnpack" / f"{CHANGED}.pte").exists()
