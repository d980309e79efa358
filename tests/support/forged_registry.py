"""A registry in a folder, and what a bad publisher, store or network could make of it."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.digest import canonical_json, hash_bytes
from ptefoundry.registry.channels import Channel
from ptefoundry.registry.moves import Move, promote
from ptefoundry.registry.names import channel_key, ref_key
from ptefoundry.registry.store.file import FileStore
from ptefoundry.registry.trust.channel_envelope import ChannelRecord
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.yanks import Yank, yank
from support.layouts import empty_registry, push, write_folder
from support.packed import NAME, copy_bundle, edit_manifest, pack, replace_file

Edit = Callable[[dict[str, Any]], object]
HOUR = 3600.0


def make_folder(folder: Path) -> Path:
    """1.0.0 and 1.1.0 of the golden bundle; the second has another `red`. No channel."""
    store = empty_registry()
    bundle = copy_bundle(folder / "bundle")
    edit_manifest(bundle, _note_exporter)
    push(store, pack(bundle, version="1.0.0").packed)
    replace_file(bundle, "xnnpack/red.pte", (bundle / "xnnpack" / "blue.pte").read_bytes() + b"..")
    push(store, pack(bundle, version="1.1.0").packed)
    return write_folder(store, folder / "registry")


def _note_exporter(manifest: dict[str, Any]) -> None:
    manifest["backends"]["xnnpack"]["exporter"] = {"executorch": "1.5.1"}


@dataclass(frozen=True)
class ForgedRegistry:
    """A registry whose objects are files that tests may change."""

    folder: Path

    def read(self, key: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / key).read_bytes())
        return found

    def write(self, key: str, fields: Any) -> None:
        (self.folder / key).write_bytes(canonical_json(fields))

    def move(
        self, version: str, signers: Sequence[Signer] = (), valid_s: float | None = HOUR
    ) -> ChannelRecord:
        """Let the channel `stable` name a version."""
        store = FileStore(self.folder)
        channel = Channel(store, NAME, "stable", signers=signers)
        move = Move(by="ci", reason="a test", clock=time.time, valid_s=valid_s)
        return promote(store, channel, version, move)

    def pointer(self) -> Path:
        """The file of the channel `stable`."""
        return self.folder / channel_key(NAME, "stable")

    def yank(self, version: str) -> None:
        note = Yank(
            name=NAME, version=version, reason="is wrong", time="2026-01-01T00:00:00Z", by="ci"
        )
        yank(FileStore(self.folder), note)

    def index(self, version: str) -> dict[str, Any]:
        return self.read(_blob(self.read(ref_key(NAME, version))["digest"]))

    def layer(self, version: str, adapter: str, path: str) -> dict[str, Any]:
        """A file of a variant as its manifest has it."""
        layers = self.read(_blob(_entry(self.index(version), adapter)["digest"]))["layers"]
        return next(one for one in layers if path in one["annotations"].values())

    def blob(self, version: str, adapter: str, path: str) -> Path:
        """Where the store keeps a file of a variant."""
        return self.folder / _blob(self.layer(version, adapter, path)["digest"])

    def forge(
        self,
        version: str,
        *,
        manifest: Edit = lambda _fields: None,
        index: Edit = lambda _fields: None,
        adapter: str = "red",
    ) -> None:
        """Change a variant's manifest and the index; all digests that lead there are right."""
        fields = self.index(version)
        entry = _entry(fields, adapter)
        changed = self.read(_blob(entry["digest"]))
        manifest(changed)
        entry.update(self._put(canonical_json(changed)))
        index(fields)
        self.point(version, canonical_json(fields))

    def point(self, version: str, data: bytes) -> None:
        """Let a version be these bytes."""
        key = ref_key(NAME, version)
        self.write(key, self.read(key) | self._put(data))

    def _put(self, data: bytes) -> dict[str, Any]:
        digest = f"sha256:{hash_bytes(data)}"
        (self.folder / _blob(digest)).write_bytes(data)
        return {"digest": digest, "size": len(data)}


def _blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _entry(index: dict[str, Any], adapter: str) -> dict[str, Any]:
    entries: list[dict[str, Any]] = index["manifests"]
    return next(one for one in entries if one["annotations"]["org.ptefoundry.adapter"] == adapter)
