"""Keeping templates, which cost minutes to compile and a megabyte to keep.

A store is a folder of templates, each named by its recipe's key. A workspace may
have one in git, and each user has one among the caches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.errors import ArtifactError
from ptefoundry.lowering.template import MAP_FILE, Recipe, Template, load_template, save_template
from ptefoundry.workspace import cache_folder

WORKSPACE_STORE = "templates"


@dataclass(frozen=True)
class TemplateStore:
    """A folder of templates; it need not exist."""

    folder: Path

    def find(self, key: str) -> Template | None:
        """The template of a key, None if it is not here.

        Raises:
            ArtifactError: it is altered, cut, or that of another key.
        """
        folder = self.folder / key
        if not (folder / MAP_FILE).is_file():
            return None
        template = load_template(folder)
        found = template.map.recipe.key
        if found != key:
            raise ArtifactError(
                f"{folder}: expected the template of this key, found that of {found}; "
                "delete the folder, or fetch it again"
            )
        return template

    def add(self, template: Template) -> Path:
        """Keep a template; returns its folder."""
        folder = self.folder / template.map.recipe.key
        save_template(template, folder)
        return folder

    def keys(self) -> Iterator[str]:
        """Keys of all templates, in order."""
        return (path.parent.name for path in sorted(self.folder.glob(f"*/{MAP_FILE}")))


def workspace_stores(root: Path) -> tuple[TemplateStore, TemplateStore]:
    """Where a workspace's templates come from: its own folder, then the user's cache."""
    return TemplateStore(root / WORKSPACE_STORE), TemplateStore(cache_folder() / "templates")


def obtain_template(recipe: Recipe, stores: Sequence[TemplateStore]) -> Template:
    """Take a template out of the first store that has it, or compile it into the last.

    Raises:
        ArtifactError: a store has it, but damaged.
        BuildError: it cannot be compiled.
    """
    for store in stores:
        found = store.find(recipe.key)
        if found is not None:
            return found
    from ptefoundry.lowering.compile import compile_template

    folder = stores[-1].folder / recipe.key
    compile_template(recipe, folder)
    return load_template(folder)
