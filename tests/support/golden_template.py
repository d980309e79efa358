"""Canonical bases and adapters for the golden template, written without torch.

`tests/golden/template-v2` holds the templates of a Qwen2 with one layer: `base`, and
`adapter` for wq with rank 8 and w2 with rank 2. To make them anew, compile each of
their recipes: `compile_template(load_template(folder).map.recipe, folder)`.
"""

import dataclasses
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ptefoundry.adapter.canonical import TENSORS_FILE, save_adapter
from ptefoundry.digest import hash_json
from ptefoundry.files import write_json
from ptefoundry.lowering.store import TemplateStore
from ptefoundry.lowering.template import MAP_FILE, load_template
from ptefoundry.lowering.templates import list_recipes
from ptefoundry.params import load_params
from ptefoundry.registry.templates import RegistryTemplates
from ptefoundry.toolchain import describe_section
from ptefoundry.workspace import Workspace
from support.tiny_adapters import Tensor, write_tensors

TEMPLATES = Path(__file__).parents[1] / "golden" / "template-v2"
WQ, W2 = "layers.0.attention.wq", "layers.0.feed_forward.w2"
SIGNATURE = {WQ: 8, W2: 2}

Tensors = dict[str, Tensor]


def base_tensors(*, seed: int = 0) -> Tensors:
    """Random fp32 tensors of the base."""
    slots = load_template(TEMPLATES / "base").map.of_kind("base")
    return {slot.name: random_tensor(slot.shape, f"{seed} {slot.name}") for slot in slots}


def adapter_tensors(*, seed: int = 0) -> Tensors:
    """Random fp32 tensors of an adapter."""
    slots = load_template(TEMPLATES / "adapter").map.of_kind("adapter")
    return {slot.name: random_tensor(slot.shape, f"{seed} {slot.name}") for slot in slots}


def random_tensor(shape: tuple[int, ...], seed: str) -> Tensor:
    count = 1
    for size in shape:
        count *= size
    numbers = random.Random(seed)
    data = struct.pack(f"<{count}f", *(numbers.uniform(-1, 1) for _ in range(count)))
    return "F32", shape, data


def write_base(
    folder: Path, tensors: Tensors | None = None, eos_ids: list[int] | None = None
) -> Path:
    """A canonical base of the template's architecture."""
    folder.mkdir(parents=True)
    architecture = load_template(TEMPLATES / "base").map.recipe.architecture
    write_json(folder / "config.json", {**architecture, "max_context": 2048})
    write_json(folder / "tokenizer" / "chat.json", {"eos_token_ids": eos_ids or [2]})
    write_tensors(folder / "model.safetensors", tensors or base_tensors())
    return folder


def write_adapter(
    folder: Path, tensors: Tensors | None = None, modules: dict[str, int] | None = None
) -> Path:
    """A canonical adapter, of the template's signature where nothing else is said."""
    folder.mkdir(parents=True)
    write_tensors(folder / TENSORS_FILE, tensors or adapter_tensors())
    seal_adapter(folder, modules or SIGNATURE)
    return folder


def seal_adapter(folder: Path, modules: dict[str, int]) -> None:
    """Let adapter.sha256 be that of the file beside it, as if that had been converted."""
    data = (folder / TENSORS_FILE).read_bytes()
    save_adapter(folder, data, modules=modules, source={})


def keep_template(
    workspace: Workspace, store: TemplateStore | RegistryTemplates, signature: dict[str, int]
) -> str:
    """Put a template in a store as if it had been compiled for a workspace; returns its key."""
    params = load_params(workspace.root).backends.xnnpack
    toolchain = hash_json(describe_section("compile"))
    recipe = list_recipes(workspace.canonical_base, [signature], params, toolchain)[-1]
    template = load_template(TEMPLATES / "adapter")
    content = msgspec.structs.replace(template.map, recipe=recipe)
    store.add(dataclasses.replace(template, map=content))
    return recipe.key


def edit_map(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change a template's map so that its checksum still fits."""
    path = folder / MAP_FILE
    content = json.loads(path.read_text())["template"]
    edit(content)
    path.write_text(json.dumps({"sha256": hash_json(content), "template": content}))
