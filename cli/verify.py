"""`ptefoundry verify`: is the built bundle what it must be?"""

import time
from pathlib import Path
from typing import Annotated

import typer


def verify(
    *,
    relink: Annotated[
        bool,
        typer.Option(
            "--relink", help="Export programs in full too, and compare the bytes. Takes minutes."
        ),
    ] = False,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter", metavar="NAME", help="Export only this program (`base`: the base's)."
        ),
    ] = None,
) -> None:
    """Check the workspace's bundle: its files against the manifest, its programs by exporting.

    An adapter that was filled up with zeros for a shared template is linked into a fresh one.
    """
    from ptefoundry.bundle.check import check_files
    from ptefoundry.bundle.relink import check_export, find_variants
    from ptefoundry.params import load_params
    from ptefoundry.workspace import find_workspace

    workspace = find_workspace(Path.cwd())
    variants = find_variants(workspace.bundle, tuple(adapter or ()))
    check_files(workspace.bundle)
    print("every file is as the manifest says")
    for variant in variants if relink else ():
        start = time.monotonic()
        check_export(workspace, load_params(workspace.root), variant)
        seconds = time.monotonic() - start
        print(f"{variant.program}: made anew it has the same bytes ({seconds:.0f} s)")
