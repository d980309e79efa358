"""`ptefoundry gc`: giving old versions up, and collecting what nothing refers to."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import ConfigError

from .durations import parse_duration
from .output import JsonOption, print_json, print_note
from .registry_access import EndpointOption, open_access
from .registry_arguments import RegistryArgument, split_arguments

if TYPE_CHECKING:
    from ptefoundry.registry.gc import Collected
    from ptefoundry.registry.store.interface import Store

_MEANING = {
    "used": "in use",
    "young": "unused, but too new to judge",
    "condemned": "unused: noted as garbage by this run",
    "waiting": "unused: noted as garbage before, kept for the grace period",
    "rescued": "noted as garbage before, but in use again",
    "deleted": "deleted",
    "left": "left to the next run, as somebody changed them meanwhile",
}


def gc(  # noqa: PLR0913  one parameter for each option
    arguments: RegistryArgument = None,
    *,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Newest versions to keep of each name, besides those that channels name or named "
            "of late; without it all are kept.",
        ),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="How long garbage and the content of removed versions is kept, such as 72h.",
        ),
    ] = "72h",
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="NAME@VERSION", help="Give this version up."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    undo: Annotated[
        bool,
        typer.Option("--undo", help="Take everything back whose content is still there."),
    ] = False,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Collect garbage while others push and pull.

    What is unused is noted by one run, and deleted by one that comes a grace period later.
    Numbers of versions are never used again.
    """
    from ptefoundry.registry.gc import collect
    from ptefoundry.registry.names import parse_reference

    address, _ = split_arguments(arguments)
    grace_s = parse_duration(grace, where="--grace")
    wanted = [parse_reference(text) for text in remove or ()]
    if undo and (dry_run or keep is not None or wanted):
        raise ConfigError("--undo: expected no --keep, --remove or --dry-run beside it")
    store = open_access(address, endpoint_url).store
    if undo:
        _undo(store, as_json=as_json)
        return
    done = collect(
        store, keep=keep, grace_s=grace_s, clock=time.time, dry_run=dry_run, remove=wanted
    )
    if as_json:
        print_json({"dry_run": dry_run} | asdict(done))
        return
    _show(done, dry_run=dry_run)


def _show(done: "Collected", *, dry_run: bool) -> None:
    if dry_run:
        print_note("nothing was changed; without --dry-run this would be done:")
    for version in done.removed:
        print(f"{version} is given up; `ptefoundry gc --undo` takes it back until it is deleted")
    for outcome, meaning in _MEANING.items():
        if (tally := done.blobs.get(outcome)) is not None:  # type: ignore[call-overload]
            print(f"{tally.blobs:>9,} blobs {tally.bytes:>20,} bytes  {meaning}")
    if done.stale_leases:
        print(f"{done.stale_leases} leases of pushes that died are dropped")
    if done.unfinished:
        print(f"{done.unfinished} uploads that never ended are dropped")


def _undo(store: "Store", *, as_json: bool) -> None:
    from ptefoundry.registry.undelete import undelete

    done = undelete(store, clock=time.time)
    if as_json:
        print_json(asdict(done))
        return
    print(f"{done.blobs} blobs are no longer noted as garbage")
    for version in done.restored:
        print(f"{version} is back")
    for reason in done.lost.values():
        print_note(reason)
