"""`ptefoundry rebuild`: does a bundle follow from what it says it was built of?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import ConfigError, VerificationError

from .output import JsonOption, print_json, print_note

if TYPE_CHECKING:
    from ptefoundry.workspace import Workspace

    from .rebuilding import Rebuilt


def rebuild(  # noqa: PLR0913  one parameter for each option
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="[BUNDLE]", help="A bundle's folder; else the workspace's."),
    ] = None,
    *,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every byte with the bundle.")
    ] = False,
    vary: Annotated[
        bool,
        typer.Option(
            "--vary",
            help="Build twice; path, time zone, locale, umask, hash seed and CPUs differ.",
        ),
    ] = False,
    independent: Annotated[
        bool,
        typer.Option(
            "--independent", help="As --vary, in two fresh containers with other host names."
        ),
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="As of `ptefoundry build`, for --independent.")
    ] = None,
    use_templates: Annotated[
        bool,
        typer.Option(
            "--use-templates", help="Take the program templates that are there; compile none."
        ),
    ] = False,
    allow_other_toolchain: Annotated[
        bool,
        typer.Option(
            "--allow-other-toolchain", help="Build with this toolchain although it is another."
        ),
    ] = False,
    keep: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Leave what is built in this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Build a bundle again from what its workspace recorded, without any cache.

    In another folder, with the recorded inputs. Of a difference the file, the part of it and
    the number of bytes are told. Measurements (measured.json) differ and are not compared.
    """
    from .rebuilding import RebuildRequest
    from .rebuilding import rebuild as build_again

    if not verify and keep is None:
        raise ConfigError("rebuild: expected --verify, --keep FOLDER or both, found neither")
    workspace = _workspace(bundle)
    request = RebuildRequest(
        bundle=workspace.bundle if bundle is None else bundle,
        vary=vary,
        independent=independent or image is not None,
        image=image,
        use_templates=use_templates,
        allow_other_toolchain=allow_other_toolchain,
        keep=keep,
    )
    builds = []
    for one in build_again(workspace, request):
        builds.append(one)
        if not as_json:
            _show(one)
    if as_json:
        print_json({"bundle": str(request.bundle), "builds": [one.to_dict() for one in builds]})
    if verify:
        _conclude(request.bundle, builds)


def _workspace(bundle: Path | None) -> "Workspace":
    """The workspace that the bundle is in, else the current one."""
    from ptefoundry.workspace import find_workspace

    if bundle is not None:
        try:
            return find_workspace(bundle)
        except ConfigError:
            print_note(f"{bundle} is in no workspace: its inputs are those of the current one")
    return find_workspace(Path.cwd())


def _show(one: "Rebuilt") -> None:
    if not one.differences:
        print(
            f"{one.name}: the same {one.bytes:,} bytes in {one.files} files ({one.seconds:.0f} s)"
        )
        return
    for difference in one.differences:
        print(f"{one.name}: {difference}")
    for stage in one.origins:
        print(f"{one.name}: stage {stage} made something else of the same inputs")


def _conclude(bundle: Path, builds: "list[Rebuilt]") -> None:
    differences = sum(len(one.differences) for one in builds)
    if differences:
        files = sorted({one.path for built in builds for one in built.differences})
        raise VerificationError(
            f"{bundle}: expected the bytes of a rebuild, found {differences} differences in "
            f"{', '.join(files)}; if the bundle is as it was built (`ptefoundry inspect --verify "
            "BUNDLE`), the build is not reproducible: please report it with what is above"
        )
