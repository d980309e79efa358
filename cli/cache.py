"""`ptefoundry cache`: what the cache of pulled blobs holds, whether it is whole, less of it."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import ConfigError, VerificationError

from .output import JsonOption, print_json, print_table

if TYPE_CHECKING:
    from ptefoundry.registry.cache import BlobCache

app = typer.Typer(
    name="cache",
    help="Look at, check and shrink the cache of what was pulled from registries.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(?:i?B)?")
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


@app.command("ls")
def list_blobs(*, as_json: JsonOption = False) -> None:
    """List the blobs, the ones used last at the end."""
    blobs = _cache().blobs()
    if as_json:
        print_json(
            [
                {"digest": blob.digest, "size": blob.size, "last_use": _time(blob.last_use)}
                for blob in blobs
            ]
        )
        return
    print_table(
        ("digest", "> bytes", "last use"),
        ((blob.digest, f"{blob.size:,}", _time(blob.last_use)) for blob in blobs),
    )
    print(f"{len(blobs)} blobs, {sum(blob.size for blob in blobs):,} bytes")


@app.command("verify")
def verify(*, as_json: JsonOption = False) -> None:
    """Hash every blob, and drop those that were altered; they are fetched anew when needed."""
    from ptefoundry.report import progress

    cache = _cache()
    altered, count = [], 0
    with progress("hashing", sum(blob.size for blob in cache.blobs())) as advance:
        for blob, right in cache.verify():
            count += 1
            advance(blob.size)
            if not right:
                altered.append(blob.digest)
    if as_json:
        print_json({"blobs": count, "altered": altered})
    else:
        print(f"{count} blobs, {len(altered)} altered")
    if altered:
        raise VerificationError(
            f"{cache.folder}: expected blobs as they were pulled, found altered ones, which were "
            f"dropped: {', '.join(altered)}; pull again what was made of them"
        )


@app.command("prune")
def prune(
    max_size: Annotated[
        str, typer.Option("--max-size", help="Bytes to keep at most, for instance 20G or 500M.")
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Drop abandoned downloads, then blobs used least recently. What is in use stays."""
    from dataclasses import asdict

    from ptefoundry.registry.prune import prune as prune_cache
    from ptefoundry.report import format_size

    pruned = prune_cache(_cache(), _parse_size(max_size))
    if as_json:
        print_json(asdict(pruned))
        return
    print(
        f"dropped {pruned.blobs} blobs and {pruned.partials} abandoned downloads, "
        f"{format_size(pruned.freed)}; {format_size(pruned.kept)} are left"
    )


def _cache() -> "BlobCache":
    from ptefoundry.registry.cache import user_cache

    return user_cache()


def _parse_size(text: str) -> int:
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"--max-size: expected a size such as 20G or 500M, found {text!r}")
    return int(float(match[1]) * 1024 ** _POWERS[match[2]])


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
