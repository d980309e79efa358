"""`ptefoundry plan`: what a build would do, and why."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.report import format_size

from .output import JsonOption, is_interactive, print_json

if TYPE_CHECKING:
    from .planning import Plan
    from .template_list import TemplateRow


def plan(
    *,
    github_matrix: Annotated[
        bool,
        typer.Option(
            "--github-matrix",
            help="Print what is stale as a matrix of GitHub Actions, a leg for each machine.",
        ),
    ] = False,
    container: Annotated[
        bool,
        typer.Option(
            "--container", help="Plan a build in a container, whose image is made if need be."
        ),
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="As of `ptefoundry build`, for --container.")
    ] = None,
    pull: Annotated[
        bool,
        typer.Option(
            "--pull", help="Take from the shared cache what was built elsewhere, then plan."
        ),
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Most variants of a leg.")] = 400,
    as_json: JsonOption = False,
) -> None:
    """Show what a build would do, and why.

    A stage that would run is restored from the cache instead if it ran like that before;
    with --pull only that is left which nobody has built.
    """
    from ptefoundry.params import load_params
    from ptefoundry.workspace import find_workspace

    from .build_place import build_place
    from .builder import restore_workspace
    from .matrix import plan_legs, to_matrix
    from .planning import plan_build

    workspace = find_workspace(Path.cwd())
    params = load_params(workspace.root)
    in_container = container or image is not None
    with build_place(workspace.root, params, container=in_container, image=image) as place:
        if pull:
            restore_workspace(workspace, place, live=is_interactive())
        planned = plan_build(workspace, place.toolchain())
    if github_matrix:
        legs = plan_legs(params, planned, batch=batch)
        print(json.dumps(to_matrix(legs), separators=(",", ":")))
    elif as_json:
        print_json(planned.to_dict())
    else:
        _show(planned)


def _show(planned: "Plan") -> None:
    if planned.new_graph:
        print("dvc.yaml would be written anew, as params.yaml has changed")
    running = [stage for stage in planned.stages if stage.would_run]
    for stage in running:
        print(f"{stage.name}  {stage.description}")
        for reason in stage.reasons:
            print(f"    {reason}")
        if stage.after:
            print(f"    after {', '.join(stage.after)}")
    # Where nothing runs nothing will tell more.
    for row in (row for row in planned.templates if row.key or running):
        print(f"{', '.join(row.needed_by)}: {_describe_template(row)}")
    if planned.compiled_methods:
        print(
            f"coreml: compiles the one program anew, all {len(planned.compiled_methods)} methods "
            f"(minutes each): {', '.join(planned.compiled_methods)}"
        )
        before = planned.program_bytes
        size = "" if before is None else f", {format_size(before)} in the last build"
        print(f"    apps receive all of the program again{size}")
    for path in planned.removes:
        print(f"{path} would be removed: its adapter is no longer in params.yaml")
    if running:
        kept = len(planned.stages) - len(running)
        print(f"{len(running)} stages would run or be restored from the cache, {kept} stay")
    elif not planned.removes and not planned.new_graph:
        print("nothing to do")


def _describe_template(row: "TemplateRow") -> str:
    if row.key is None:
        return f"template known after {', '.join(row.known_after)}"
    what = f"template {row.key[:16]}"
    return f"{what} in {row.found_in}" if row.found_in else f"compiles {what} (minutes)"
