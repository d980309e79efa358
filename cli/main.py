"""The command `ptefoundry`: its commands, its global options and its only error handler."""

import logging
import sys
from typing import Annotated

import typer

from ptefoundry.errors import FoundryError

from . import (
    adapter,
    build,
    cache,
    channels,
    doctor,
    fsck,
    gc,
    init,
    inspect,
    keys,
    mirror,
    plan,
    pull,
    push,
    rebuild,
    registry,
    run,
    template,
    verify,
    versions,
    yank,
)

INTERRUPTED = 130
_UNEXPECTED = 1
_log = logging.getLogger("ptefoundry")

_HELP = """Build, inspect and run ExecuTorch LoRA bundles.

A workspace is a folder with params.yaml: `ptefoundry init DIR` makes one, `ptefoundry adapter
add` puts adapters into it, `ptefoundry build` makes what changed."""

_EXIT_CODES = """\b
Exit codes:
  0    done
  1    unexpected failure
  2    bad usage or configuration
  3    bad input: a base, adapter or artifact file is refused
  4    a source or store could not be read
  5    a build step failed or a tool is missing
  6    a check of results failed
  7    somebody else was first: a version exists, a channel has moved
  130  interrupted; run again to go on"""

app = typer.Typer(
    name="ptefoundry",
    help=_HELP,
    epilog=_EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    # Plain text: loading rich would double the time of --help.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("init")(init.init)
app.add_typer(adapter.app)
app.command("plan")(plan.plan)
app.command("build")(build.build)
app.command("inspect")(inspect.inspect)
app.command("verify")(verify.verify)
app.command("rebuild")(rebuild.rebuild)
app.command("run")(run.run)
app.add_typer(template.app)
app.add_typer(registry.app)
app.command("push")(push.push)
app.command("ls")(versions.ls)
app.command("show")(versions.show)
app.command("diff")(versions.diff)
app.command("pull")(pull.pull)
app.command("promote")(channels.promote)
app.command("rollback")(channels.rollback)
app.command("log")(channels.log)
app.command("yank")(yank.yank)
app.command("unyank")(yank.unyank)
app.command("gc")(gc.gc)
app.command("fsck")(fsck.fsck)
app.command("mirror")(mirror.mirror)
app.add_typer(cache.app)
app.add_typer(keys.app)
app.command("doctor")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        print(f"ptefoundry {importlib.metadata.version('ptefoundry')}")
        raise typer.Exit


@app.callback()
def _configure(
    *,
    version: Annotated[  # noqa: ARG001  the callback prints it
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show commands that are run, and tracebacks.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    _log.setLevel(logging.DEBUG if debug else logging.WARNING)


def main() -> None:
    """Run the command line and exit; the one place where errors become text and codes."""
    try:
        app()
    except FoundryError as error:
        _fail(f"error: {error}", error.exit_code)
    except OSError as error:
        from .failure import explain_os_error

        _fail(f"error: {explain_os_error(error)}", _UNEXPECTED)
    except KeyboardInterrupt:
        _explain_interrupt()
        sys.exit(INTERRUPTED)
    except SystemExit as leaving:
        if _was_interrupted(leaving):
            _explain_interrupt()
        raise
    except Exception as error:  # noqa: BLE001  the one funnel
        _fail(
            f"error: unexpected {type(error).__name__}: {error}\n"
            "this is a bug in ptefoundry; please report it with what "
            "`ptefoundry --debug ...` prints",
            _UNEXPECTED,
        )


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused this exit; Typer turns it into one."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _fail(text: str, exit_code: int) -> None:
    _log.debug("where it happened:", exc_info=True)
    print(text, file=sys.stderr)
    sys.exit(exit_code)


def _explain_interrupt() -> None:
    print(
        "interrupted; what is finished is kept, run the same command again to go on",
        file=sys.stderr,
    )
