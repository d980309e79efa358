"""`ptefoundry verify`: is a bundle, built or pulled, or a published version what it must be?"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ptefoundry.errors import ConfigError, VerificationError

from .coreml_options import UnitsOption
from .output import JsonOption, print_json
from .registry_access import EndpointOption, TrustOption, known_policy, open_access
from .registry_arguments import split_arguments


def verify(  # noqa: PLR0913  one parameter for each option
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REGISTRY] REFERENCE|DIR",
            help="Registry (file:PATH, s3://bucket/prefix, https://...), and name@version or "
            "name:channel; or a folder that was pulled.",
        ),
    ] = None,
    *,
    relink: Annotated[
        bool,
        typer.Option(
            "--relink", help="Export programs in full too, and compare the bytes. Takes minutes."
        ),
    ] = False,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="NAME",
            help="Export or compare only this program (`base`: the base's).",
        ),
    ] = None,
    answers: Annotated[
        bool,
        typer.Option(
            "--answers",
            help="Let the CoreML program, or that of a bundle's folder, answer here, on a Mac, and "
            "compare with the model.",
        ),
    ] = False,
    compute_units: UnitsOption = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every byte of a published version.")
    ] = False,
    trust: TrustOption = None,
    endpoint_url: EndpointOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the workspace's bundle, a version in a registry, or a pulled folder.

    A bundle: its files against the manifest, its programs by exporting. A version: its
    signatures (under a trust policy its provenance's too), and that everything it refers to
    is there; with --deep every byte. A folder, without the registry: every byte, and its
    signatures if there is a trust policy. One whose name has @ or : is written as ./NAME.
    With --answers alone the CoreML program as compiled, or
    that of a folder, which takes the workspace's base and adapters to compare with.

    Where an export has other bytes for what computes the same, such as equal matrices or zeros
    for a shared template, a program is linked into a fresh template; the reason is printed.
    """
    if compute_units is not None and not answers:
        raise ConfigError("--compute-units: expected it with --answers; leave it out")
    if answers and len(arguments or ()) < (1 if relink else 2):
        from .coreml_answers import verify_answers

        verify_answers(Path(arguments[0]) if arguments else None, adapter or (), compute_units)
        if not relink:
            return
    if arguments:
        if relink or adapter or answers:
            raise ConfigError(
                "--relink, --answers and --adapter are for the workspace's bundle alone, --answers "
                "for one bundle's folder"
            )
        if (folder := _folder(arguments)) is not None:
            _verify_folder(folder, endpoint_url, trust, as_json=as_json)
            return
        _verify_version(arguments, endpoint_url, trust, deep=deep, as_json=as_json)
        return
    if deep or as_json:
        raise ConfigError("--deep and --json are for a version or a pulled folder: name one")
    _verify_bundle(tuple(adapter or ()), relink=relink)


def _folder(arguments: list[str]) -> Path | None:
    """The pulled folder that is meant, None if it is a version."""
    from ptefoundry.registry.names import parse_reference

    if len(arguments) > 1:
        return None
    folder = Path(arguments[0])
    if not {"@", ":"} & {*arguments[0]}:
        if folder.is_dir():
            return folder
        raise ConfigError(
            f"expected name@version, name:channel or a pulled folder, found no folder {folder}"
        )
    try:
        parse_reference(arguments[0])
    except ConfigError:
        return folder if folder.is_dir() else None
    return None


def _verify_folder(
    folder: Path, endpoint_url: str | None, trust: Path | None, *, as_json: bool
) -> None:
    from ptefoundry.registry.pulled_folder import check_folder
    from ptefoundry.registry.trust.policy_file import warn_unverified

    if endpoint_url is not None:
        raise ConfigError("--endpoint-url is for a version in a registry, found a folder")
    policy = known_policy(trust)
    if policy is None:
        warn_unverified()
    checked = check_folder(folder, policy=policy, now=time.time())
    if as_json:
        print_json(asdict(checked))
        return
    print(f"{folder}: {checked.files} files of {checked.bytes:,} bytes are as the manifest says")
    if checked.version is not None:
        print(f"a trusted key has signed them as {checked.name}@{checked.version}")


def _verify_version(
    arguments: list[str],
    endpoint_url: str | None,
    trust: Path | None,
    *,
    deep: bool,
    as_json: bool,
) -> None:
    from ptefoundry.registry.attached import verify_provenance
    from ptefoundry.registry.check import check_version
    from ptefoundry.registry.names import parse_reference

    from .pull import make_puller

    address, (text,) = split_arguments(arguments, "a version or channel")
    access = open_access(address, endpoint_url, trust=trust)
    resolved = access.resolve(parse_reference(text))
    checked = check_version(make_puller(access), resolved, deep=deep)
    stated = []
    if access.policy is not None:
        now = time.time()
        stated = verify_provenance(access.store, resolved, policy=access.policy, now=now)
    if as_json:
        print_json(
            {
                "name": resolved.name,
                "version": resolved.version,
                "blobs": checked.blobs,
                "bytes": checked.bytes,
                "deep": deep,
                "problems": list(checked.problems),
                "provenance": [asdict(one) for one in stated],
            }
        )
    if checked.problems:
        listed = "\n  ".join(checked.problems)
        raise VerificationError(
            f"{resolved}: {len(checked.problems)} of {checked.blobs} blobs are not what they must "
            f"be:\n  {listed}\ndelete what is damaged, then push the same bundle "
            "again or mirror another registry into this one: both send what is missing"
        )
    if as_json:
        return
    what = "every byte is" if deep else "each is there, with the size"
    print(f"{resolved}: {checked.blobs} blobs of {checked.bytes:,} bytes: {what} as published")
    for one in stated:
        source = f" from {one.source}" if one.source is not None else ""
        print(f"{one.file}: built by {one.builder}{source}")


def _verify_bundle(adapters: tuple[str, ...], *, relink: bool) -> None:
    from ptefoundry.bundle.check import check_files
    from ptefoundry.bundle.relink import check_export, find_variants
    from ptefoundry.params import load_params
    from ptefoundry.workspace import find_workspace

    workspace = find_workspace(Path.cwd())
    xnnpack = load_params(workspace.root).backends.xnnpack
    variants = find_variants(workspace.bundle, adapters)
    check_files(workspace.bundle)
    print("every file is as the manifest says")
    for variant in variants if relink else ():
        start = time.monotonic()
        if xnnpack is None:
            raise ConfigError(
                f"params.yaml: backends: expected xnnpack, for which {variant.program} was built, "
                "found none; run `ptefoundry build`"
            )
        departure = check_export(workspace, xnnpack, variant)
        seconds = time.monotonic() - start
        print(f"{variant.program}: made anew it has the same bytes ({seconds:.0f} s)")
        if departure:
            print(f"  linked into a fresh template instead of exported: {departure}")
