"""How commands are told a registry: as an argument, by the environment or by params.yaml."""

import os
import re
from collections.abc import Sequence
from typing import Annotated

import typer

from ptefoundry.errors import ConfigError

REGISTRY_VARIABLE = "PTEFOUNDRY_REGISTRY"

ReferenceArguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[REGISTRY] REFERENCE",
        help="Registry (file:PATH, s3://bucket/prefix, https://...), and name@version or "
        "name:channel.",
    ),
]
RegistryArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REGISTRY]", help="file:PATH, s3://bucket/prefix or https://..."),
]
NameArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[REGISTRY] [NAME]", help="Registry, and a bundle's name."),
]
#: Names have no slash, so what has one was meant as an address, be it a wrong one.
_ADDRESS = re.compile(r"(?:file|s3|https?):|.*/", re.IGNORECASE)


def split_arguments(
    arguments: Sequence[str] | None, *names: str, optional: bool = False
) -> tuple[str, list[str]]:
    """A registry's address and the arguments behind it.

    Args:
        arguments: of the command; the address may be left out.
        names: what the others are called in messages, one for each that is expected.
        optional: whether the last of them may be missing.

    Raises:
        ConfigError: there are more or fewer, or no registry is known.
    """
    given = list(arguments or ())
    address = given.pop(0) if given and _ADDRESS.match(given[0]) else None
    least = len(names) - optional
    if not least <= len(given) <= len(names):
        expected = ", ".join(names) or "nothing"
        raise ConfigError(
            f"expected {expected} after the registry (file:..., s3://bucket/prefix or "
            f"https://...), found {' '.join(given) or 'nothing'}"
        )
    return address or known_address(), given


def known_address() -> str:
    """The registry that the environment or the workspace names.

    Raises:
        ConfigError: neither does.
    """
    if address := os.environ.get(REGISTRY_VARIABLE) or _workspace_address():
        return address
    raise ConfigError(
        "expected a registry, found none: give its address (file:..., s3://bucket/prefix or "
        f"https://...), set {REGISTRY_VARIABLE}, or put `registry: url:` into params.yaml"
    )


def _workspace_address() -> str | None:
    from .registry_access import workspace_params

    found = workspace_params()
    return found[1].registry.url if found is not None else None
