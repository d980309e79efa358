"""Putting the built files together as a bundle."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ptefoundry.bundle import coreml
from ptefoundry.bundle.manifest import (
    EXPORTER,
    MANIFEST_FILE,
    MEASURED_FILE,
    STORED_WEIGHTS,
    FileEntry,
    Manifest,
    Variant,
)
from ptefoundry.bundle.weights import list_weights
from ptefoundry.digest import hash_file, parse_sha256
from ptefoundry.errors import VerificationError
from ptefoundry.files import assembled_folder, place, write_json
from ptefoundry.lowering.build import BASE_PROGRAM
from ptefoundry.lowering.foundation import FOUNDATION_FILE, load_foundation
from ptefoundry.params import Params, XnnpackParams
from ptefoundry.toolchain import package_versions
from ptefoundry.workspace import BASE_VARIANT, Workspace, digest_file

_BACKEND = "xnnpack"


def assemble_bundle(workspace: Workspace, params: Params, into: Path) -> None:
    """Make the folder `into` from a workspace's built files, replacing it at once.

    Files are hard links where the file system allows.

    Raises:
        VerificationError: a program is not the one that its smoke run was made with.
    """
    with assembled_folder(into) as folder:
        variants = _place_files(workspace, params, folder)
        measured = {
            f"{variant.backend}/{variant.adapter}": _measured(workspace, variant, folder)
            for variant in variants
        }
        manifest = Manifest(
            name=params.bundle.name,
            base=_origin(params.base.source, workspace.fetched_base) | {"name": params.base.name},
            adapters={
                name: _origin(adapter.source, workspace.fetched_adapter(name))
                for name, adapter in sorted(params.adapters.items())
            },
            backends=_describe_backends(workspace, params),
            files=tuple(_list_files(folder)),
            variants=tuple(variants),
        )
        write_json(folder / MANIFEST_FILE, asdict(manifest))
        write_json(folder / MEASURED_FILE, measured)


def _place_files(workspace: Workspace, params: Params, folder: Path) -> list[Variant]:
    base, variants = workspace.canonical_base, list[Variant]()
    place(base / "config.json", folder / "model.json")
    for file in sorted((base / "tokenizer").iterdir()):
        place(file, folder / "tokenizer" / file.name)
    # In the order that registries give them: by backend, the base first.
    if (options := params.backends.coreml) is not None:
        variants += coreml.place_program(workspace, sorted(params.adapters), options, folder)
    if params.backends.xnnpack is not None:
        variants += _place_xnnpack(workspace, sorted(params.adapters), folder)
    return variants


def _place_xnnpack(workspace: Workspace, adapters: list[str], folder: Path) -> Iterator[Variant]:
    built = workspace.artifacts
    foundation = built / "foundation" / _BACKEND
    place(foundation / FOUNDATION_FILE, folder / _BACKEND / FOUNDATION_FILE)
    programs = {BASE_VARIANT: foundation / BASE_PROGRAM}
    for name in adapters:
        programs[name] = built / "link" / _BACKEND / f"{name}.pte"
    for name, program in programs.items():
        place(program, folder / _BACKEND / f"{name}.pte")
        yield Variant(
            backend=_BACKEND,
            adapter=name,
            program=f"{_BACKEND}/{name}.pte",
            data=(f"{_BACKEND}/{FOUNDATION_FILE}",),
            method="forward",
        )


def _describe_backends(workspace: Workspace, params: Params) -> dict[str, dict[str, object]]:
    backends = dict[str, dict[str, object]]()
    if params.backends.xnnpack is not None:
        backends[_BACKEND] = _describe_xnnpack(workspace, params.backends.xnnpack)
    if params.backends.coreml is not None:
        described = coreml.describe_backend(sorted(params.adapters), params.backends.coreml)
        backends[coreml.BACKEND] = described
    return backends


def _describe_xnnpack(workspace: Workspace, params: XnnpackParams) -> dict[str, object]:
    """The options, what became of the base's weights with them, and what exported them."""
    foundation = load_foundation(workspace.artifacts / "foundation" / _BACKEND)
    return asdict(params) | {
        EXPORTER: package_versions("compile"),
        STORED_WEIGHTS: [asdict(weights) for weights in list_weights(foundation)],
    }


def _measured(workspace: Workspace, variant: Variant, folder: Path) -> dict[str, object]:
    """The metrics of a variant's smoke run, which must be of the very same program."""
    path = workspace.artifacts / "smoke" / variant.backend / variant.adapter / "metrics.json"
    metrics: dict[str, object] = json.loads(path.read_text())
    program = folder / variant.program
    if metrics["program_sha256"] != hash_file(program):
        raise VerificationError(
            f"{path}: expected the smoke run of {program.name}, found that of another program; "
            "run `ptefoundry build`"
        )
    return metrics


def _origin(source: str, fetched: Path) -> dict[str, str]:
    """Where something was fetched from, and the digest of what that was, pinned or not."""
    path = digest_file(fetched)
    digest = path.read_text().strip()
    return {"source": source, "digest": parse_sha256(digest, where=str(path))}


def _list_files(folder: Path) -> Iterator[FileEntry]:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder).as_posix()
        yield FileEntry(path=relative, size=path.stat().st_size, sha256=hash_file(path))
