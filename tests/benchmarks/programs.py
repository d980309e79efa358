"""Programs for the speed benchmark: the workspace's base under several schemes."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.digest import hash_json
from ptefoundry.lowering.build import BASE_PROGRAM, build_foundation
from ptefoundry.lowering.foundation import FOUNDATION_FILE
from ptefoundry.lowering.store import TemplateStore
from ptefoundry.lowering.templates import build_templates, list_recipes
from ptefoundry.params import XnnpackParams, load_params
from ptefoundry.toolchain import describe_section
from ptefoundry.workspace import cache_folder

BASE = Path("artifacts/base/canonical")
SCHEMES: dict[str, dict[str, str]] = {
    "fp32": {},
    "8da4w": {"linear": "8da4w,32", "head": "8da8w,0", "embedding": "8,0"},
}
"""Options of `backends.xnnpack` by name; a scheme whose options are unknown is left out."""


@dataclass(frozen=True)
class Program:
    """A program of the base and its foundation."""

    scheme: str
    program: Path
    foundation: Path
    tokenizer: Path


def find_params(scheme: str, context: int) -> XnnpackParams | None:
    """The workspace's parameters with a scheme's options, None if it does not know these."""
    options = SCHEMES[scheme]
    known = {field.name for field in dataclasses.fields(XnnpackParams)}
    if not options.keys() <= known:
        return None
    params = load_params(Path.cwd()).backends.xnnpack
    changes: dict[str, Any] = {**options, "context_length": context, "prefill_length": None}
    return dataclasses.replace(params, **changes)


def build_program(scheme: str, params: XnnpackParams, into: Path) -> Program:
    """Link the base's program; its template is compiled once (minutes) and kept in the cache."""
    into.mkdir()
    templates, foundation = into / "templates", into / "foundation"
    recipes = list_recipes(BASE, [], params, hash_json(describe_section("compile")))
    build_templates(recipes, [TemplateStore(cache_folder() / "templates")], templates)
    build_foundation(BASE, templates, foundation)
    return Program(
        scheme=scheme,
        program=foundation / BASE_PROGRAM,
        foundation=foundation / FOUNDATION_FILE,
        tokenizer=(BASE / "tokenizer").resolve(),
    )
