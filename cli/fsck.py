"""`ptefoundry fsck`: is a registry whole?"""

from typing import TYPE_CHECKING, Annotated

import typer

from ptefoundry.errors import VerificationError

from .output import JsonOption, print_json
from .registry_access import EndpointOption, TrustOption, open_access
from .registry_arguments import RegistryArgument, split_arguments

if TYPE_CHECKING:
    from ptefoundry.registry.findings import Finding, Report


def fsck(
    arguments: RegistryArgument = None,
    *,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read all blobs and compare them with their digests.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Write index.json and channels.json anew and move channels' pointers on.",
        ),
    ] = False,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that every version of a registry has its content. Exits with 6 if something is wrong.

    With a trust policy also that its clients accept versions and channels. Nothing is ever
    deleted.
    """
    from ptefoundry.registry.fsck import check_registry

    address, _ = split_arguments(arguments)
    access = open_access(address, endpoint_url, trust=trust)
    report = check_registry(access.store, deep=deep, repair=repair, policy=access.policy)
    if as_json:
        print_json(report.to_dict())
    else:
        _show(report)
    if not report.is_sound:
        wrong = sum(not (one.harmless or one.repaired) for one in report.findings)
        raise VerificationError(
            f"{access.registry.url}: expected a sound registry, found {wrong} faults; each says "
            "what to do about it"
        )


def _show(report: "Report") -> None:
    for finding in report.findings:
        print(f"{finding.key}: {finding.kind}: {finding.problem}\n  {_next(finding)}")
    print(
        f"{report.versions} versions, {report.channels} channels; {report.blobs:,} blobs of "
        f"{report.bytes:,} bytes, {report.hashed:,} of them read"
    )
    if report.unreferenced:
        # What a damaged document refers to is not garbage.
        where = (
            "version; `ptefoundry gc` collects them"
            if report.is_sound
            else "version that could be read"
        )
        print(
            f"{report.unreferenced:,} blobs of {report.unreferenced_bytes:,} bytes are in no {where}"
        )


def _next(finding: "Finding") -> str:
    if finding.repaired:
        return "repaired"
    return f"harmless; {finding.remedy}" if finding.harmless else finding.remedy
