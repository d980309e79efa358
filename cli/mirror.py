"""`ptefoundry mirror`: copying a registry, or a part of it, into another one."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from .output import JsonOption, print_json, print_note
from .registry_access import TrustOption, open_access


def mirror(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Registry to copy.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Registry to copy into.")],
    references: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REFERENCE]...",
            help="Names, name@version or name:channel to copy; without any everything is.",
        ),
    ] = None,
    *,
    source_endpoint: Annotated[
        str | None,
        typer.Option("--from-endpoint-url", metavar="URL", help="S3-compatible store of FROM."),
    ] = None,
    target_endpoint: Annotated[
        str | None,
        typer.Option("--to-endpoint-url", metavar="URL", help="S3-compatible store of TO."),
    ] = None,
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy versions and channels with their history, verified and byte for byte.

    What is there already is not sent again; nothing is overwritten. Run again, it goes on.
    """
    from ptefoundry.registry.cache import user_cache
    from ptefoundry.registry.mirror import mirror as copy
    from ptefoundry.registry.names import parse_reference

    wanted = [parse_reference(text) for text in references or ()]
    whence = open_access(source, source_endpoint, trust=trust)
    whither = open_access(target, target_endpoint)
    done = copy(
        *(whence.store, whither.store, wanted),
        policy=whence.policy,
        cache=user_cache(),
        clock=time.time,
    )
    if done.channels is None:
        print_note(
            f"{source} does not say which channels it has: name them (name:channel) to copy them"
        )
    if as_json:
        print_json(asdict(done))
        return
    for version in done.versions:
        print(f"{version} is copied")
    for channel, records in (done.channels or {}).items():
        print(f"{channel}: {records} records copied")
    print(
        f"{len(done.known)} versions were there; {done.bytes:,} bytes in {done.blobs:,} blobs sent"
    )
