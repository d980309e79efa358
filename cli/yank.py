"""`ptefoundry yank` and `unyank`: versions that nobody should use."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import ConfigError, ConflictError

from .actor import actor
from .registry_access import Access, EndpointOption, TrustOption, open_access
from .registry_arguments import split_arguments

if TYPE_CHECKING:
    from ptefoundry.registry.names import Reference

VersionArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REGISTRY] NAME@VERSION", help="Registry, and the version."),
]


def yank(
    arguments: VersionArguments = None,
    *,
    reason: Annotated[str, typer.Option(help="Why nobody should use it; shown to who does.")],
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Though channels name it, as where there is no version to go back to: who follows "
            "them keeps what is there, until they are moved.",
        ),
    ] = False,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Note that nobody should use a version. Who names it can still pull it, with a warning."""
    from ptefoundry.registry.documents import format_time
    from ptefoundry.registry.yanks import Yank, channels_that_name
    from ptefoundry.registry.yanks import yank as note

    access, name, version = _open_version(arguments, endpoint_url, trust)
    channels = channels_that_name(access.store, name, version)
    if channels and not force:
        raise ConfigError(
            f"{name}@{version}: expected a version that no channel names, found that "
            f"{_names(channels)} does; move it first, with `ptefoundry rollback` or `promote`. "
            "Where there is no version to move it to, --force withdraws this one"
        )
    now = format_time(time.time())
    note(access.store, Yank(name=name, version=version, reason=reason, time=now, by=actor()))
    # Whoever moves a channel looks for yanks afterwards, so that one of the two notices.
    named = channels_that_name(access.store, name, version)
    if named and not force:
        raise ConflictError(
            f"{name}@{version} is yanked, but {_names(named)} was moved to it meanwhile; move it "
            "on, with `ptefoundry rollback` or `promote`"
        )
    print(f"{name}@{version} is yanked: {reason}")
    if named:
        print(
            f"withdrawn from {_names(named)}: who follows it keeps what is there, and nobody else "
            "gets anything, until `ptefoundry promote` names another version"
        )


def unyank(
    arguments: VersionArguments = None,
    *,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
) -> None:
    """Take a yank back."""
    from ptefoundry.registry.yanks import unyank as forget

    access, name, version = _open_version(arguments, endpoint_url, trust)
    forget(access.store, name, version)
    print(f"{name}@{version} is not yanked")


def _names(channels: "Iterable[Reference]") -> str:
    return ", ".join(map(str, channels))


def _open_version(
    arguments: list[str] | None, endpoint_url: str | None, trust: Path | None
) -> tuple[Access, str, str]:
    from ptefoundry.registry.names import parse_reference

    address, (text,) = split_arguments(arguments, "name@version")
    reference = parse_reference(text)
    if reference.version is None:
        raise ConfigError(f"expected name@version, found {text!r}")
    return open_access(address, endpoint_url, trust=trust), reference.name, reference.version
