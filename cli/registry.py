"""`ptefoundry registry`: making a registry of a store."""

from typing import Annotated, Any

import typer

from .output import JsonOption, print_json, print_note
from .registry_access import EndpointOption, known_endpoint
from .registry_arguments import known_address

app = typer.Typer(
    name="registry",
    help="Make a registry of a folder or an S3-compatible store.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _group() -> None:
    """Keep `init` a command of its own: Typer would make it the group itself."""


@app.command("init")
def init(
    address: Annotated[
        str | None,
        typer.Argument(metavar="REGISTRY", help="file:PATH or s3://bucket/prefix."),
    ] = None,
    *,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a registry, and find out what its store can do. An old one is only probed anew."""
    from ptefoundry.registry.registry import init_registry
    from ptefoundry.registry.store.open import open_store

    address = address or known_address()
    store = open_store(address, endpoint_url=endpoint_url or known_endpoint(address))
    registry = init_registry(store)
    found = registry.capabilities.to_dict()
    is_s3 = registry.url.startswith("s3:")
    if as_json:
        print_json(
            {"registry": registry.url, "capabilities": found}
            | ({"lifecycle": _lifecycle(registry.url)} if is_s3 else {})
        )
        return
    print(f"{registry.url} is a registry; its store was found to do:")
    for name, value in found.items():
        print(f"  {name.replace('_', ' ')}: {_say(value)}")
    if is_s3:
        print_note(
            "set this lifecycle rule, or uploads that were broken off stay and cost money; "
            "put-bucket-lifecycle-configuration replaces all rules of the bucket, so keep those "
            "that it has beside it:"
        )
        print_json(_lifecycle(registry.url))


def _lifecycle(url: str) -> dict[str, Any]:
    """What drops broken uploads of the registry at `s3://bucket/prefix/`, and of nobody else."""
    _, _, prefix = url.removeprefix("s3://").partition("/")
    rule = {
        "ID": "ptefoundry-abort-uploads",
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    return {"Rules": [rule]}


def _say(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
