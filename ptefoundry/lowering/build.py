"""What the stages make of canonical folders and templates: a foundation, programs."""

from pathlib import Path

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.errors import ArtifactError
from ptefoundry.files import assembled_folder
from ptefoundry.lowering.foundation import load_foundation, write_foundation
from ptefoundry.lowering.link import Linker
from ptefoundry.lowering.template import BASE_TEMPLATE, load_template, template_name

BASE_PROGRAM = "base.pte"


def build_foundation(base: Path, templates: Path, into: Path) -> None:
    """Write a base's foundation, its index and the base's own program into a folder.

    Args:
        base: canonical folder.
        templates: what `build_templates` made.
        into: the folder; replaced at once.

    Raises:
        CheckpointError: the base is not the one that the templates are for.
        ArtifactError: a template is missing or altered.
        VerificationError: what was written does not read back as it must.
    """
    template = load_template(templates / BASE_TEMPLATE)
    with assembled_folder(into) as folder:
        write_foundation(base, template, folder)
        Linker(template, load_foundation(folder)).link(None, folder / BASE_PROGRAM)


def build_adapter(
    adapter: Path, templates: Path, foundation: Path, into: Path, *, shared: bool = False
) -> None:
    """Link the program of a canonical adapter.

    Args:
        adapter: canonical folder.
        templates: what `build_templates` made.
        foundation: what `build_foundation` made.
        into: the `.pte` to write.
        shared: fill the adapter up to the one template that all adapters share.

    Raises:
        AdapterError: the adapter is damaged, or equals the base in a tensor.
        ArtifactError: a template or the foundation is missing, altered or of another build.
        VerificationError: what was written does not read back as it must.
    """
    canonical = load_adapter(adapter)
    folder = shared_template(templates) if shared else templates / template_name(canonical.modules)
    linker = Linker(load_template(folder), load_foundation(foundation))
    linker.link(canonical, into, pad=shared)


def shared_template(templates: Path) -> Path:
    """The folder of the one template for adapters.

    Raises:
        ArtifactError: there is none, or more than one.
    """
    found = sorted(path for path in templates.glob("[!.]*") if path.name != BASE_TEMPLATE)
    if len(found) != 1:
        raise ArtifactError(
            f"{templates}: expected one template for all adapters, found {len(found)}; "
            "run `ptefoundry build`"
        )
    return found[0]
