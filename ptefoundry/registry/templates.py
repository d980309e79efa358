"""Program templates in a registry, which builders share; apps have no use for them.

templates/<key>/template.json, program.bin, fixed.bin: under the key of the recipe, which names
architecture, options, signature and toolchain. Each is created once. A compilation is
reproducible, so other bytes under the same key are an error, of either builder.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.errors import ConflictError, ObjectExistsError, ObjectMissingError, RegistryError
from ptefoundry.lowering.template import (
    FIXED_FILE,
    MAP_FILE,
    PROGRAM_FILE,
    Template,
    load_template,
    save_template,
)
from ptefoundry.registry.names import TEMPLATES, template_key
from ptefoundry.registry.store.interface import Store

_LIMIT = 1 << 30
"""Bytes of the largest file of a template that is read."""
#: In the order of writing: where the map is, the others are.
_FILES = (PROGRAM_FILE, FIXED_FILE, MAP_FILE)


@dataclass(frozen=True)
class RegistryTemplates:
    """The templates of a registry."""

    store: Store

    def find(self, key: str) -> Template | None:
        """The template of a key, None if it is not here.

        Raises:
            ArtifactError: its files do not belong together.
            RegistryError: it is cut, or that of another key.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for file in reversed(_FILES):
                try:
                    data, _ = self.store.read(template_key(key, file), limit=_LIMIT)
                except ObjectMissingError as error:
                    if file == MAP_FILE:
                        return None
                    raise RegistryError(
                        f"{self.store.url}{template_key(key, file)}: expected a file of this "
                        "template, found none; push the template again"
                    ) from error
                (folder / file).write_bytes(data)
            template = load_template(folder)
        if template.map.recipe.key != key:
            raise RegistryError(
                f"{self.store.url}{template_key(key, MAP_FILE)}: expected the template of this "
                f"key, found that of {template.map.recipe.key}; delete it and push it again"
            )
        return template

    def sizes(self) -> dict[str, int]:
        """Bytes of each template's files by key.

        Raises:
            StoreError: the store cannot list, as plain HTTP cannot.
        """
        sizes: dict[str, int] = {}
        for info in self.store.list(TEMPLATES):
            key = info.key.removeprefix(TEMPLATES).partition("/")[0]
            sizes[key] = sizes.get(key, 0) + info.size
        return sizes

    def add(self, template: Template) -> str:
        """Keep a template, unless it is here; returns its address.

        Raises:
            ConflictError: one of other bytes is here under its key.
        """
        key = template.map.recipe.key
        with tempfile.TemporaryDirectory() as name:
            save_template(template, Path(name) / key)
            for file in _FILES:
                self._create(template_key(key, file), (Path(name) / key / file).read_bytes())
        return f"{self.store.url}{template_key(key, '')}"

    def _create(self, key: str, data: bytes) -> None:
        try:
            self.store.create(key, data)
        except ObjectExistsError as error:
            raise ConflictError(
                f"{self.store.url}{key}: expected the bytes that were compiled here, found others "
                "for the same toolchain and options; one of the two is altered, or their "
                "machines compile differently: `ptefoundry template verify` tells which"
            ) from error
