"""`ptefoundry pull`: a version's files in a folder."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import ConfigError, RegistryError

from .output import JsonOption, print_json, print_note
from .registry_access import Access, EndpointOption, TrustOption, open_access
from .registry_arguments import ReferenceArguments, split_arguments

if TYPE_CHECKING:
    from ptefoundry.registry.pull import Pulled, Puller
    from ptefoundry.registry.version import VariantEntry, Version


def pull(  # noqa: PLR0913  one parameter for each option
    arguments: ReferenceArguments = None,
    *,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to make the bundle.")],
    backend: Annotated[
        str | None, typer.Option(help="Pull only this backend's programs; all if left out.")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="NAME",
            help="Pull only this adapter (`base`: none), several for several; all if left out.",
        ),
    ] = None,
    rehash: Annotated[
        bool,
        typer.Option(
            "--rehash",
            help="Read files that the folder has already too, and replace what the disk altered.",
        ),
    ] = False,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a folder what a version or a channel says, fetching only what is missing.

    The folder holds the chosen variants and nothing else. It is replaced in one step; a
    failure leaves it as it was, and running again goes on. A version that was yanked is
    pulled by its number alone.
    """
    from ptefoundry.registry.names import parse_reference

    address, (reference,) = split_arguments(arguments, "a version or channel")
    access = open_access(address, endpoint_url, trust=trust)
    resolved = access.resolve(parse_reference(reference))
    if (yanked := resolved.yanked) is not None:
        said = f"{resolved} was yanked on {yanked.time}: {yanked.reason}"
        if resolved.record is not None:
            raise RegistryError(
                f"{access.registry.url}: {reference}: expected a version that may be used, found "
                f"that {said}; {to} stays as it is: wait until the channel is moved, or pull "
                f"{resolved} by its number"
            )
        print_note(f"warning: {said}")
    puller = make_puller(access)
    entries = _choose(puller.read_version(resolved), backend, adapter or [])
    pulled = puller.pull(resolved, entries, to, rehash=rehash)
    if as_json:
        print_json(_describe(pulled))
    else:
        _show(pulled)


def make_puller(access: Access) -> "Puller":
    """What pulls from a registry through the user's cache."""
    from ptefoundry.registry.cache import BlobCache
    from ptefoundry.registry.pull import Puller
    from ptefoundry.workspace import cache_folder

    return Puller(
        store=access.store,
        cache=BlobCache(cache_folder() / "registry"),
        policy=access.policy,
        clock=time.time,
    )


def _choose(version: "Version", backend: str | None, adapters: list[str]) -> "list[VariantEntry]":
    chosen = [
        entry
        for entry in version.variants
        if (backend is None or entry.facts.backend == backend)
        and (not adapters or entry.facts.adapter in adapters)
    ]
    lacking = set(adapters) - {entry.facts.adapter for entry in chosen}
    if lacking or not chosen:
        wanted = [f"backend {backend}"] if backend is not None else []
        wanted += [f"adapter {name}" for name in sorted(lacking)]
        known = ", ".join(f"{one.facts.backend}/{one.facts.adapter}" for one in version.variants)
        raise ConfigError(
            f"{version.name}@{version.version}: expected {' with '.join(wanted)}, found {known}"
        )
    return chosen


def _describe(pulled: "Pulled") -> dict[str, object]:
    return {
        "name": pulled.name,
        "version": pulled.version,
        "folder": str(pulled.into),
        "variants": [f"{one.facts.backend}/{one.facts.adapter}" for one in pulled.variants],
        "changed_files": pulled.changed,
        "received_bytes": pulled.fetched.received,
        "signatures": list(pulled.signatures),
    }


def _show(pulled: "Pulled") -> None:
    names = ", ".join(f"{one.facts.backend}/{one.facts.adapter}" for one in pulled.variants)
    print(f"{pulled.into} is {pulled.name}@{pulled.version} with {names}")
    print(f"received {pulled.fetched.received:,} bytes; {pulled.changed} files changed")
