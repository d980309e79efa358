"""Keeping templates, which cost minutes to compile and a megabyte to keep.

A store is a folder of templates, each named by its recipe's key. A workspace may
have one in git, and each user has one among the caches.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.errors import ArtifactError, ConflictError, VerificationError
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
        """Keep a template, unless it is here; returns its folder. Several processes may.

        Raises:
            ArtifactError: it is here, but damaged.
            ConflictError: one of other bytes is here under its key.
        """
        key = template.map.recipe.key
        found = self.find(key)
        if found is None:
            with self.scratch() as scratch:
                save_template(template, scratch / key)
                self._put(key, scratch)
            found = self.find(key)
        if found is None or _differing_part(found, template):
            raise ConflictError(
                f"{self.folder / key}: expected the template that was compiled here, found another "
                "for the same toolchain and options; one of the two is altered, or their machines "
                "compile differently: `ptefoundry template verify` tells which"
            )
        return self.folder / key

    def _put(self, key: str, scratch: Path) -> None:
        folder = self.folder / key
        if folder.is_dir() and not (folder / MAP_FILE).exists():
            # Templates are put here whole, so this is what somebody left of one.
            folder.rename(scratch / "rest")
        try:
            (scratch / key).rename(folder)
        except OSError:
            # Another process has just put the same template there.
            if not (folder / MAP_FILE).exists():
                raise

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new folder in the store's, gone after the block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".", suffix=".tmp") as name:
            yield Path(name)

    def sizes(self) -> dict[str, int]:
        """Bytes of each template's files by key."""
        return {key: self.size(key) for key in self.keys()}

    def size(self, key: str) -> int:
        """Bytes of a template's files."""
        return sum(file.stat().st_size for file in (self.folder / key).iterdir())

    def keys(self) -> Iterator[str]:
        """Keys of all templates, in order."""
        return (path.parent.name for path in sorted(self.folder.glob(f"[!.]*/{MAP_FILE}")))


def workspace_stores(root: Path) -> tuple[TemplateStore, TemplateStore]:
    """Where a workspace's templates come from: its own folder, then the user's cache."""
    return TemplateStore(root / WORKSPACE_STORE), TemplateStore(cache_folder() / "templates")


def verify_template(template: Template, store: TemplateStore) -> None:
    """Compile a template anew, with its scratch files in a store, and compare all bytes.

    Raises:
        VerificationError: they differ.
        BuildError: it cannot be compiled.
    """
    from ptefoundry.lowering.compile import compile_template

    with store.scratch() as scratch:
        compile_template(template.map.recipe, scratch / "template")
        fresh = load_template(scratch / "template")
    if part := _differing_part(fresh, template):
        raise VerificationError(
            f"{template.where}: expected the {part} that a fresh compilation gives, found "
            "another; the template is altered or of another toolchain, delete it and run "
            "`ptefoundry build`"
        )


def _differing_part(one: Template, other: Template) -> str | None:
    parts = ("map", "program", "fixed")
    return next((part for part in parts if getattr(one, part) != getattr(other, part)), None)


def obtain_template(recipe: Recipe, stores: Sequence[TemplateStore]) -> Template:
    """Take a template out of the first store that has it, or compile it into the last.

    Raises:
        ArtifactError: a store has it, but damaged.
        ConflictError: another process put one of other bytes there meanwhile.
        BuildError: it cannot be compiled.
    """
    for store in stores:
        found = store.find(recipe.key)
        if found is not None:
            return found
    from ptefoundry.lowering.compile import compile_template

    with stores[-1].scratch() as scratch:
        compile_template(recipe, scratch / recipe.key)
        template = load_template(scratch / recipe.key)
    stores[-1].add(template)
    return template
