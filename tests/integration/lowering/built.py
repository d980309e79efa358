"""A tiny base whose programs are linked, to compare with exports in full."""

from pathlib import Path
from typing import Any

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.adapter.convert import convert_adapter
from ptefoundry.base.config import load_config
from ptefoundry.base.convert import convert_base
from ptefoundry.lowering.build import build_adapter, build_foundation
from ptefoundry.lowering.compile import compile_template, make_recipe
from ptefoundry.lowering.full_export import export_in_full
from ptefoundry.lowering.template import template_name
from ptefoundry.params import XnnpackParams
from support.tiny_models import save_tiny_adapter, save_tiny_base


class Built:
    """A base and two adapters of one signature, linked."""

    def __init__(
        self, root: Path, architecture: str, params: XnnpackParams, **options: Any
    ) -> None:
        """Make them with `save_tiny_base`'s options."""
        self.root, self.base, self.params = root, root / "canonical", params
        self.base_source = root / "base"
        save_tiny_base(self.base_source, architecture, **options)
        convert_base(self.base_source, self.base)
        self.adapters: dict[str | None, Path | None] = {None: None}
        for seed, name in enumerate(("red", "blue"), start=1):
            save_tiny_adapter(self.base_source, root / name, seed=seed)
            folder = root / f"{name}-canonical"
            convert_adapter(root / name, self.base, folder, base_name="")
            self.adapters[name] = folder
        config, templates = load_config(self.base / "config.json"), root / "templates"
        for signature in ({}, load_adapter(folder).modules):
            recipe = make_recipe(config, self.params, signature, "test")
            compile_template(recipe, templates / template_name(signature))
        build_foundation(self.base, templates, root / "foundation")
        self.foundation = root / "foundation" / "foundation.ptd"
        self.programs = {None: root / "foundation" / "base.pte"}
        for name, adapter in self.adapters.items():
            if adapter is not None:
                self.programs[name] = root / f"{name}.pte"
                build_adapter(adapter, templates, root / "foundation", self.programs[name])

    def export(self, name: str | None, folder: Path) -> tuple[bytes, bytes]:
        """Program and foundation of an export with the real weights."""
        compiled = export_in_full(self.base, self.adapters[name], self.params)
        compiled.write_program(folder / "full.pte")
        compiled.write_foundation(folder / "full.ptd")
        return (folder / "full.pte").read_bytes(), (folder / "full.ptd").read_bytes()
