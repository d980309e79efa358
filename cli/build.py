"""`ptefoundry build`: make what changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import JsonOption, is_interactive, print_json

if TYPE_CHECKING:
    from ptefoundry.workspace import Workspace

    from .builder import Outcome


def build(  # noqa: PLR0913  one parameter for each option
    *,
    backend: Annotated[
        list[str] | None, typer.Option(help="Build and prove only this backend; repeatable.")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(help="Build and prove only this adapter, or `base`; repeatable."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help="Run only this stage and what it needs; repeatable."),
    ] = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse another toolchain than the pinned one.")
    ] = False,
    container: Annotated[
        bool, typer.Option("--container", help="Run the stages in a container.")
    ] = False,
    image: Annotated[
        str | None,
        typer.Option(
            help="The image for --container, one that the engine has; else it is found or built "
            "by what the Dockerfile makes it of."
        ),
    ] = None,
    assemble: Annotated[
        bool,
        typer.Option(
            "--assemble", help="Refuse to run any stage but the bundle's: the cache must have all."
        ),
    ] = False,
    pull: Annotated[
        bool,
        typer.Option("--pull", help="Take from the shared cache what was built elsewhere."),
    ] = False,
    push: Annotated[
        bool, typer.Option("--push", help="Give the shared cache what it lacks of the result.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show everything that stages print.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make what changed, up to the bundle.

    A build that was stopped or failed goes on where it was. The shared cache is DVC's default
    remote; docs/shared-cache.md says how to name one.
    """
    from ptefoundry.bundle.manifest import MANIFEST_FILE
    from ptefoundry.workspace import find_workspace

    from .builder import BuildRequest, build_workspace

    request = BuildRequest(
        backends=backend or (),
        adapters=adapter or (),
        only=only or (),
        locked=locked,
        container=container or image is not None,
        image=image,
        assemble=assemble,
        pull=pull,
        push=push,
        live=is_interactive(),
        verbose=verbose,
    )
    workspace = find_workspace(Path.cwd())
    outcome = build_workspace(workspace, request)
    if outcome.bundle is not None and (outcome.bundle / MANIFEST_FILE).is_file():
        _note_build(workspace, outcome.bundle)
    if as_json:
        print_json(outcome.to_dict())
    elif outcome.failure is None:
        print(_summary(outcome))
    if outcome.failure is not None:
        raise outcome.failure


def _note_build(workspace: "Workspace", bundle: Path) -> None:
    """Keep how the bundle was built beside it, for whoever pushes it from another machine."""
    from ptefoundry.params import load_params
    from ptefoundry.registry.trust.build_record import record_build
    from ptefoundry.registry.trust.kept_record import keep_record
    from ptefoundry.registry.trust.version_signatures import VersionFiles

    params = load_params(workspace.root)
    unpublished = VersionFiles(name=params.bundle.name, version="", index="", variants={})
    keep_record(bundle, record_build(workspace.root, params, unpublished))


def _summary(outcome: "Outcome") -> str:
    from ptefoundry.report import format_size

    counts = f"{outcome.count('ran')} ran, {outcome.count('cached')} from the cache"
    text = f"{counts}, {outcome.count('unchanged')} unchanged in {outcome.seconds:.1f} s"
    if outcome.bundle is None or not outcome.bundle.is_dir():
        return text
    size = sum(path.stat().st_size for path in outcome.bundle.rglob("*") if path.is_file())
    return f"{text}; bundle: {outcome.bundle} ({format_size(size)})"
