"""A packed version of the golden bundle, and the readers that clients put its documents through."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ptefoundry.bundle.manifest import Manifest
from ptefoundry.digest import hash_bytes, hash_file
from ptefoundry.registry.listing import read_listing
from ptefoundry.registry.pack import PackedVersion, pack_bundle
from ptefoundry.registry.version import (
    VariantContent,
    VariantEntry,
    Version,
    read_variant,
    read_version,
)

BUNDLE = Path(__file__).parents[1] / "golden" / "bundle-v1"
NAME, VERSION = "tiny", "1.4.0"


@dataclass(frozen=True)
class Documents:
    """The documents on the way to one variant: of adapter `blue`."""

    packed: PackedVersion

    def blob(self, digest: str) -> bytes:
        """A small blob."""
        content = next(blob.content for blob in self.packed.blobs if blob.digest == digest)
        return content if isinstance(content, bytes) else content.read_bytes()

    @cached_property
    def index(self) -> bytes:
        return self.packed.index_bytes

    @cached_property
    def entry(self) -> VariantEntry:
        return read_index(self.index).variant("xnnpack", "blue")

    @cached_property
    def manifest(self) -> bytes:
        return self.blob(self.entry.descriptor.digest)

    @cached_property
    def content(self) -> VariantContent:
        return self.read_manifest(self.manifest)

    @cached_property
    def listing(self) -> bytes:
        return self.blob(self.content.listing.descriptor.digest)

    def read_manifest(self, data: bytes) -> VariantContent:
        return read_variant(data, expected=self.entry.facts, where="manifest")

    def read_listing(self, data: bytes) -> Manifest:
        return read_listing(data, name=NAME, content=self.content, where="listing")


def read_index(data: bytes) -> Version:
    return read_version(data, name=NAME, version=VERSION, where="index")


def pack(folder: Path = BUNDLE, version: str = VERSION) -> Documents:
    return Documents(pack_bundle(folder, version=version))


def copy_bundle(folder: Path) -> Path:
    """The golden bundle, to be changed."""
    return Path(shutil.copytree(BUNDLE, folder))


def replace_file(bundle: Path, path: str, data: bytes) -> None:
    """Give a file of a bundle other content, in the manifest too."""
    (bundle / path).parent.mkdir(parents=True, exist_ok=True)
    (bundle / path).write_bytes(data)

    def note(manifest: dict[str, Any]) -> None:
        files = {entry["path"]: entry for entry in manifest["files"]}
        sha256 = hash_file(bundle / path)
        files[path] = {"path": path, "size": len(data), "sha256": sha256}
        manifest["files"] = [files[name] for name in sorted(files)]

    edit_manifest(bundle, note)


def retrain(bundle: Path, adapter: str, extra: bytes) -> int:
    """Give an adapter's program other bytes, `extra` behind its old ones; returns its new size."""
    path = f"xnnpack/{adapter}.pte"
    old = (BUNDLE / path).read_bytes()
    replace_file(bundle, path, old + extra)
    return len(old) + len(extra)


def add_adapters(bundle: Path, count: int) -> list[str]:
    """Give a bundle further adapters, with programs like that of `red`; returns their names."""
    names = [f"adapter_{number:03}" for number in range(count)]
    for name in names:
        data = (BUNDLE / "xnnpack" / "red.pte").read_bytes() + name.encode()
        replace_file(bundle, f"xnnpack/{name}.pte", data)

    def note(manifest: dict[str, Any]) -> None:
        red = next(one for one in manifest["variants"] if one["adapter"] == "red")
        for name in names:
            digest = f"sha256:{hash_bytes(name.encode())}"
            manifest["adapters"][name] = {"source": f"file:models/{name}", "digest": digest}
            manifest["variants"].append(red | {"adapter": name, "program": f"xnnpack/{name}.pte"})

    edit_manifest(bundle, note)
    return names


def edit_manifest(bundle: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change a bundle's manifest."""
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))
