"""Small workspaces, adapters and ExecuTorch files, made without torch and ExecuTorch."""

import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import flatbuffers
import pytest

from ptefoundry.bundle.manifest import FileEntry, Manifest, Variant
from ptefoundry.digest import hash_file
from ptefoundry.files import write_json
from ptefoundry.workspace import Workspace
from support.golden_template import write_adapter as write_canonical_adapter
from support.tiny_adapters import TINY, write_adapter

PARAMS = """\
# What to build.
bundle:
  name: assistant

base:
  name: example/tiny  # as adapters call it
  source: file:models/base

# One section for each.
adapters:
  red:
    source: file:models/red
  blue:
    source: file:models/blue

backends:
  xnnpack:
    context_length: 32

smoke:
  prompts:
      - an odd indentation
  tokens: 4
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a built base's configuration, as the current folder."""
    root = tmp_path / "workspace"
    write_json(root / "artifacts" / "base" / "canonical" / "config.json", TINY.to_dict())
    (root / "params.yaml").write_text(PARAMS)
    base = {"name": "example/tiny", "source": "file:models/base"}
    lock = {"schema": "2.0", "stages": {"fetch-base": {"params": {"params.yaml": {"base": base}}}}}
    write_json(root / "dvc.lock", lock)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def converted(workspace: Path) -> Workspace:
    """A workspace whose two adapters have one signature."""
    found = Workspace(workspace)
    for name in ("red", "blue"):
        write_canonical_adapter(found.artifacts / "adapters" / "canonical" / name)
    return found


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PTEFOUNDRY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PTEFOUNDRY_RUNNER", raising=False)
    monkeypatch.delenv("PTEFOUNDRY_REGISTRY", raising=False)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter that fits the workspace's base."""
    return write_adapter(tmp_path / "lora_model")


WriteFile = Callable[..., Path]


@pytest.fixture
def write_ptd() -> WriteFile:
    """Writes a data file with these tensors."""

    def write(path: Path, tensors: Mapping[str, bytes]) -> Path:
        builder = flatbuffers.Builder()
        segments, named = _segments(builder, tensors)
        builder.Finish(_table(builder, {1: segments, 2: named}, fields=3), b"FT01")
        return _write_file(path, builder, b"FH01", "QQQQ", b"".join(tensors.values()))

    return write


@pytest.fixture
def write_pte() -> WriteFile:
    """Writes a program with one method that loads `external` keys, and tensors of its own."""

    def write(path: Path, external: tuple[str, ...], tensors: Mapping[str, bytes]) -> Path:
        builder = flatbuffers.Builder()
        segments, named = _segments(builder, tensors)
        plans = _vector(builder, [_plan(builder, "forward", external)])
        builder.Finish(_table(builder, {1: plans, 4: segments, 7: named}, fields=8), b"ET12")
        return _write_file(path, builder, b"eh00", "QQQ", b"".join(tensors.values()))

    return write


@pytest.fixture
def bundle(tmp_path: Path, write_pte: WriteFile, write_ptd: WriteFile) -> Path:
    """A bundle with a base and the adapter `red` over one foundation."""
    root = tmp_path / "bundle"
    shared = {"embedding": b"e" * 64, "norm": b"n" * 16}
    write_ptd(root / "xnnpack" / "foundation.ptd", shared)
    write_pte(root / "xnnpack" / "base.pte", tuple(shared), {})
    write_pte(root / "xnnpack" / "red.pte", (*shared, "lora"), {"lora": b"r" * 8})
    write_json(root / "tokenizer" / "chat.json", {"first": ["<user>"], "next": []})
    names = ("base.pte", "foundation.ptd", "red.pte")
    files = [_entry(root, f"xnnpack/{name}") for name in names]
    manifest = Manifest(
        name="assistant",
        base={"name": "example/tiny", "source": "file:models/base"},
        adapters={"red": {"source": "file:models/red"}},
        backends={"xnnpack": {"context_length": 32}},
        files=(*files, _entry(root, "tokenizer/chat.json")),
        variants=(_variant("base"), _variant("red")),
    )
    write_json(root / "manifest.json", asdict(manifest))
    (root / "measured.json").write_text(json.dumps({}))
    return root


def _entry(root: Path, name: str) -> FileEntry:
    path = root / name
    return FileEntry(path=name, size=path.stat().st_size, sha256=hash_file(path))


def _variant(adapter: str) -> Variant:
    return Variant(
        backend="xnnpack",
        adapter=adapter,
        program=f"xnnpack/{adapter}.pte",
        data=("xnnpack/foundation.ptd",),
        method="forward",
    )


def _plan(builder: Any, name: str, external: tuple[str, ...]) -> int:
    values = _vector(builder, [_external_tensor(builder, key) for key in external])
    instructions = _vector(builder, [_table(builder, {}, fields=1)])
    chains = _vector(builder, [_table(builder, {2: instructions}, fields=3)])
    fields = {0: builder.CreateString(name), 2: values, 5: chains}
    return _table(builder, fields, fields=9)


def _external_tensor(builder: Any, key: str) -> int:
    text = builder.CreateString(key)
    builder.StartObject(3)
    builder.PrependUOffsetTRelativeSlot(1, text, 0)
    builder.PrependInt8Slot(2, 1, 0)
    extra = builder.EndObject()
    tensor = _table(builder, {9: extra}, fields=10)
    builder.StartObject(2)
    builder.PrependUint8Slot(0, 5, 0)
    builder.PrependUOffsetTRelativeSlot(1, tensor, 0)
    return int(builder.EndObject())


def _segments(builder: Any, tensors: Mapping[str, bytes]) -> tuple[int, int]:
    segments, named, offset = [], [], 0
    for index, (key, data) in enumerate(tensors.items()):
        builder.StartObject(2)
        builder.PrependUint64Slot(0, offset, 0)
        builder.PrependUint64Slot(1, len(data), 0)
        segments.append(builder.EndObject())
        text = builder.CreateString(key)
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(0, text, 0)
        builder.PrependUint32Slot(1, index, 0)
        named.append(builder.EndObject())
        offset += len(data)
    return _vector(builder, segments), _vector(builder, named)


def _table(builder: Any, offsets: Mapping[int, int], *, fields: int) -> int:
    builder.StartObject(fields)
    for number, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _write_file(path: Path, builder: Any, magic: bytes, layout: str, data: bytes) -> Path:
    """Put the extended header behind the identifier and the segments behind the table."""
    raw = bytes(builder.Output())
    header_size = 8 + struct.calcsize("<" + layout)
    padding = -header_size % 16
    total = len(raw) + header_size + padding
    sizes = (0, total, total, len(data)) if layout == "QQQQ" else (total, total, len(data))
    header = struct.pack("<4sI" + layout, magic, header_size, *sizes) + bytes(padding)
    root = struct.unpack_from("<I", raw)[0] + len(header)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<I", root) + raw[4:8] + header + raw[8:] + data)
    return path
