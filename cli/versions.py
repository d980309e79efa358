"""`ptefoundry ls`, `show` and `diff`: what versions there are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import ConfigError

from .output import JsonOption, print_json, print_note, print_table
from .pull import make_puller
from .registry_access import Access, EndpointOption, TrustOption, open_access
from .registry_arguments import NameArguments, ReferenceArguments, split_arguments

if TYPE_CHECKING:
    from ptefoundry.registry.differences import Difference
    from ptefoundry.registry.overview import VersionRow
    from ptefoundry.registry.resolve import Resolved
    from ptefoundry.registry.version import VariantContent, VariantEntry


def ls(
    arguments: NameArguments = None,
    *,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the versions of a registry, or of one name in it, and the channels that name them."""
    from ptefoundry.registry.names import CHANNEL_LIST_KEY, check_name
    from ptefoundry.registry.overview import list_versions

    address, given = split_arguments(arguments, "a name", optional=True)
    access = open_access(address, endpoint_url, trust=trust)
    name = check_name(given[0]) if given else None
    rows = list_versions(access.store, name, policy=access.policy)
    if not rows:
        of = f" of {name}" if name is not None else ""
        print_note(f"{access.registry.url}: found no versions{of}; `ptefoundry push` makes one")
    if any(row.channels is None for row in rows):
        print_note(
            f"{access.registry.url}: found no {CHANNEL_LIST_KEY}, so nobody can say which channels "
            "there are; whoever may write there lists them with `ptefoundry fsck --repair`"
        )
    if as_json:
        print_json([row.to_dict() for row in rows])
        return
    print_table(
        ("version", "channels", "pushed", "by", "digest", "remarks"),
        (_version_row(row) for row in rows),
    )


def show(
    arguments: ReferenceArguments = None,
    *,
    attachment: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE",
            help="Write what is attached: signatures, provenance, sbom, measured, or an "
            "artifact type.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Folder for the files of --attachment."),
    ] = None,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a version's variants, what they need, and what is attached to the version.

    With --attachment its files are written, to be read or checked by other tools.
    """
    from ptefoundry.registry.names import parse_reference
    from ptefoundry.registry.referrers import list_referrers

    if (attachment is None) != (to is None):
        raise ConfigError("expected --attachment TYPE and --to DIR together, or neither")
    address, (text,) = split_arguments(arguments, "a version or channel")
    access = open_access(address, endpoint_url, trust=trust)
    resolved = access.resolve(parse_reference(text))
    if attachment is not None and to is not None:
        _write_attached(access, resolved, attachment, to, as_json=as_json)
        return
    version = make_puller(access).read_version(resolved)
    attached = list_referrers(access.store, resolved.index.digest)
    yanked = resolved.yanked.reason if resolved.yanked is not None else None
    if as_json:
        print_json(
            {
                "name": resolved.name,
                "version": resolved.version,
                "digest": resolved.index.digest,
                "yanked": yanked,
                "variants": [_variant_to_dict(entry) for entry in version.variants],
                "attached": [
                    {"type": item.artifact_type, "digest": item.digest} for item in attached
                ],
            }
        )
        return
    print(f"{resolved} is {resolved.index.digest}")
    if yanked is not None:
        print(f"yanked: {yanked}")
    print_table(
        ("backend", "adapter", "> bytes", "> foundation", "> memory", "runtime"),
        (_variant_row(entry) for entry in version.variants),
    )
    for item in attached:
        print(f"attached: {item.artifact_type} ({item.digest})")


def _write_attached(
    access: Access, resolved: "Resolved", attachment: str, into: Path, *, as_json: bool
) -> None:
    from ptefoundry.files import write_bytes
    from ptefoundry.registry.attached import KINDS, attached_files

    files = attached_files(access.store, resolved, KINDS.get(attachment, attachment))
    if not files:
        raise ConfigError(
            f"{resolved}: --attachment: expected one of what is attached ({', '.join(KINDS)} or "
            f"the types that `ptefoundry show` lists), found nothing of {attachment!r}"
        )
    paths = [into / name for name in sorted(files)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, files[path.relative_to(into).as_posix()])
    if as_json:
        print_json([str(path) for path in paths])
        return
    for path in paths:
        print(path)


def diff(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REGISTRY] REFERENCE REFERENCE", help="Registry, and from what to what."
        ),
    ] = None,
    *,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two versions: which files differ, and how many bytes an update moves."""
    from ptefoundry.registry.differences import compare

    address, texts = split_arguments(arguments, "a version or channel", "another one")
    access = open_access(address, endpoint_url, trust=trust)
    before, after = (_contents(access, text) for text in texts)
    difference = compare(before, after)
    if as_json:
        print_json(difference.to_dict())
    else:
        _show_difference(difference)


def _contents(access: Access, text: str) -> "list[VariantContent]":
    from ptefoundry.registry.names import parse_reference

    puller = make_puller(access)
    version = puller.read_version(access.resolve(parse_reference(text)))
    return puller.read_variants(version.variants)


def _version_row(row: "VersionRow") -> tuple[str, ...]:
    remarks = [f"yanked: {row.yanked}"] if row.yanked is not None else []
    remarks += [f"{channel}: not accepted by the trust policy" for channel in row.refused or ()]
    if row.ref.removed is not None:
        remarks.append(f"removed on {row.ref.removed}")
    return (
        str(row.ref),
        "?" if row.channels is None else ", ".join(row.channels),
        row.ref.time,
        row.ref.by,
        row.ref.digest.removeprefix("sha256:")[:16],
        "; ".join(remarks),
    )


def _variant_row(entry: "VariantEntry") -> tuple[str, ...]:
    facts = entry.facts
    foundation = f"{facts.foundation_size:,}" if facts.foundation_size is not None else ""
    return (
        facts.backend,
        facts.adapter,
        f"{facts.size:,}",
        foundation,
        f"{facts.memory:,}",
        facts.runtime or "",
    )


def _variant_to_dict(entry: "VariantEntry") -> dict[str, object]:
    from dataclasses import asdict

    return asdict(entry.facts) | {"manifest": entry.descriptor.digest}


def _show_difference(difference: "Difference") -> None:
    for name in difference.variants_added:
        print(f"new variant: {name}")
    for name in difference.variants_removed:
        print(f"variant gone: {name}")
    print_table(
        ("file", "> bytes before", "> bytes after"),
        (
            (
                change.path,
                "" if change.before is None else f"{change.before:,}",
                "" if change.after is None else f"{change.after:,}",
            )
            for change in difference.files
        ),
    )
    print(f"{difference.same_bytes:,} bytes stay, {difference.moved_bytes:,} are to be fetched")
