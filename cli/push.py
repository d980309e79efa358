"""`ptefoundry push`: publishing a bundle as a version."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .actor import actor
from .channels import AdoptOption, ReasonOption, ValidOption, make_move
from .output import JsonOption, print_json, print_note
from .registry_access import (
    EndpointOption,
    KeyOption,
    TrustOption,
    open_access,
    workspace_params,
)
from .registry_arguments import known_address

if TYPE_CHECKING:
    from ptefoundry.registry.pack import PackedVersion
    from ptefoundry.registry.push import Pushed
    from ptefoundry.registry.trust.build_record import BuildRecord


def push(  # noqa: PLR0913  one parameter for each option
    bundle: Annotated[
        Path | None,
        typer.Argument(metavar="[BUNDLE]", help="A bundle's folder; else the workspace's."),
    ] = None,
    *,
    version: Annotated[str, typer.Option(help="Version to publish, such as 1.4.0.")],
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry",
            metavar="REGISTRY",
            help="file:PATH or s3://bucket/prefix; else PTEFOUNDRY_REGISTRY, else params.yaml.",
        ),
    ] = None,
    channel: Annotated[
        str | None, typer.Option(help="Channel that is to name the version.")
    ] = None,
    reason: ReasonOption = "",
    valid: ValidOption = None,
    adopt: AdoptOption = None,
    key: KeyOption = None,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a bundle as a version that will never change.

    What the registry has already is not sent again. The same content under the same version
    is a success, other content an error.
    """
    from ptefoundry.registry.moves import check_move, follow_push
    from ptefoundry.registry.names import Reference, check_channel
    from ptefoundry.registry.pack import pack_bundle
    from ptefoundry.registry.publish import publish
    from ptefoundry.workspace import find_workspace

    move = make_move(reason, valid, adopt)
    if channel is not None:
        check_channel(channel)
    access = open_access(registry or known_address(), endpoint_url, trust=trust, keys=key)
    folder = bundle if bundle is not None else find_workspace(Path.cwd()).bundle
    packed = pack_bundle(folder, version=version)
    target = access.channel(Reference(packed.name, channel=channel)) if channel else None
    if target is not None:
        check_move(target, move)
    elif access.policy is not None and not access.signers:
        _warn_unsigned(packed)
    record = _record(packed, folder)
    pushed = publish(
        access.store,
        packed,
        folder,
        signers=access.signers,
        record=record,
        by=actor(),
        clock=time.time,
    )
    moved = follow_push(access.store, target, version, move) if target is not None else None
    if as_json:
        print_json(
            _describe(pushed) | ({"channel": channel, "number": moved.number} if moved else {})
        )
        return
    _show(pushed)
    if moved is not None:
        print(f"{packed.name}:{channel} is {moved.version} (number {moved.number})")


def _warn_unsigned(packed: "PackedVersion") -> None:
    print_note(
        f"warning: {packed.name}@{packed.version} is not signed: clients with this trust policy "
        "will refuse it until it is pushed again with --key"
    )


def _record(packed: "PackedVersion", folder: Path) -> "BuildRecord | None":
    """How the bundle was built: by the workspace that it is of, or as it was noted beside it."""
    from ptefoundry.registry.trust.build_record import record_build
    from ptefoundry.registry.trust.kept_record import find_record, with_fetched
    from ptefoundry.registry.trust.signed_content import files_of_packed
    from ptefoundry.workspace import Workspace

    version, found = files_of_packed(packed), workspace_params()
    if found is not None and Workspace(found[0]).bundle.resolve() == folder.resolve():
        return with_fetched(record_build(*found, version), packed.bundle)
    return find_record(folder, version)


def _describe(pushed: "Pushed") -> dict[str, object]:
    sent, known = pushed.sent.sent, pushed.sent.known
    return {
        "name": pushed.ref.name,
        "version": pushed.ref.version,
        "digest": pushed.ref.digest,
        "new": pushed.is_new,
        "sent": {"blobs": len(sent), "bytes": sum(blob.size for blob in sent)},
        "known": {"blobs": len(known), "bytes": sum(blob.size for blob in known)},
    }


def _show(pushed: "Pushed") -> None:
    sent, known = pushed.sent.sent, pushed.sent.known
    if not pushed.is_new:
        print(f"{pushed.ref} is there already, with the same content ({pushed.ref.digest})")
        if sent:
            print(f"{len(sent)} blobs that the store had lost are there again")
        return
    print(f"{pushed.ref} is {pushed.ref.digest}")
    print(
        f"sent {sum(blob.size for blob in sent):,} bytes in {len(sent)} blobs; "
        f"{sum(blob.size for blob in known):,} bytes in {len(known)} were there"
    )
