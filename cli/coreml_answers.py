"""Letting a CoreML program answer here, and comparing it with the workspace's model."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from ptefoundry.bundle.manifest import Manifest
    from ptefoundry.coreml.params import CoremlParams
    from ptefoundry.params import Params
    from ptefoundry.workspace import Workspace


@dataclass(frozen=True)
class _Built:
    """A program and what it was built from."""

    program: Path
    params: "CoremlParams"
    adapters: tuple[str, ...]


def verify_answers(bundle: Path | None, adapters: Sequence[str], units: str | None) -> None:
    """Let a CoreML program answer the smoke prompts and show how near its tokens are.

    Args:
        bundle: folder of the bundle with the program; None for the one that was compiled last.
        adapters: those that answer, `base` for the base alone; none for all.
        units: where it runs; None: as it was built.

    Raises:
        ConfigError: there is no workspace with the program's base and adapters, or no such adapter.
        ArtifactError: the bundle is damaged or has no CoreML program.
        MissingToolError: this is no Mac.
        VerificationError: a token is not among the likeliest of the model.
    """
    from ptefoundry.coreml.device import prove_answers
    from ptefoundry.params import load_params
    from ptefoundry.workspace import BASE_VARIANT, find_workspace

    workspace = find_workspace(Path.cwd())
    params = load_params(workspace.root)
    built = _compiled(workspace, params) if bundle is None else _bundled(bundle, workspace)
    known = (BASE_VARIANT, *built.adapters)
    for name in adapters:
        if name not in known:
            raise ConfigError(f"--adapter: expected one of {', '.join(known)}, found {name!r}")
    folders = {name: workspace.canonical_adapter(name) for name in built.adapters}
    for path in (workspace.canonical_base, *folders.values()):
        if not path.is_dir():
            raise ConfigError(
                f"{path}: expected what answers are compared with, found none; run "
                "`ptefoundry build`"
            )
    compared = prove_answers(
        built.program,
        workspace.canonical_base,
        {name: folders.get(name) for name in adapters or known},
        built.params,
        params.smoke,
        units,
    )
    for one in compared:
        count, spoken = len(one.spoken.tokens), one.spoken
        print(
            f"coreml/{spoken.adapter}: {spoken.prompt!r}: {one.equal} of {count} tokens are the "
            f"model's likeliest, the others within {one.gap:.3g} of it"
        )


def _compiled(workspace: "Workspace", params: "Params") -> _Built:
    from ptefoundry.coreml.build import PROGRAM_FILE

    from .targets import COREML

    if params.backends.coreml is None:
        raise ConfigError(
            "--answers: expected backends.coreml in params.yaml, found none; programs of xnnpack "
            "are compared whenever they are built"
        )
    program = workspace.artifacts / "compile" / COREML / PROGRAM_FILE
    return _Built(program, params.backends.coreml, tuple(params.adapters))


def _bundled(bundle: Path, workspace: "Workspace") -> _Built:
    """The program of a bundle that was built from the workspace's base and adapters."""
    from ptefoundry.bundle.manifest import load_manifest
    from ptefoundry.workspace import BASE_VARIANT

    from .targets import COREML

    manifest = load_manifest(bundle)
    variants = [variant for variant in manifest.variants if variant.backend == COREML]
    if not variants:
        raise ArtifactError(
            f"{bundle}: expected a CoreML program, found only: {', '.join(manifest.backends)}"
        )
    adapters = tuple(v.adapter for v in variants if v.adapter != BASE_VARIANT)
    _check_origins(bundle, manifest, adapters, workspace)
    options = _read_options(bundle, manifest.backends[COREML])
    return _Built(bundle / variants[0].program, options, adapters)


def _check_origins(
    bundle: Path, manifest: "Manifest", adapters: Sequence[str], workspace: "Workspace"
) -> None:
    """What is compared with must be what the program was built from."""
    from ptefoundry.workspace import digest_file

    fetched = {name: workspace.fetched_adapter(name) for name in adapters}
    fetched |= {"base": workspace.fetched_base}
    for name in ("base", *adapters):
        path = digest_file(fetched[name])
        found = path.read_text().strip() if path.is_file() else "none"
        origin = manifest.base if name == "base" else manifest.adapters.get(name, {})
        expected = origin.get("digest")
        if found != expected:
            raise ConfigError(
                f"{bundle}: {name} is from {origin.get('source')} with digest {expected}; expected "
                f"the same in this workspace, as answers are compared with it, found {found}; go "
                "to where it was built, or build it here"
            )


def _read_options(bundle: Path, fields: dict[str, Any]) -> "CoremlParams":
    from pydantic import TypeAdapter, ValidationError

    from ptefoundry.coreml.params import CoremlParams

    names = {field.name for field in dataclasses.fields(CoremlParams)}
    options = {name: value for name, value in fields.items() if name in names}
    try:
        # As JSON, because strict validation of Python values takes no mapping.
        return TypeAdapter(CoremlParams).validate_json(json.dumps(options))
    except ValidationError as error:
        raise ArtifactError(
            f"{bundle}: backends.coreml of the manifest: expected the options of the program "
            f"({error}); build or pull it again"
        ) from error
