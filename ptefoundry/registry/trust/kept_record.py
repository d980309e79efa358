"""The record of a build, kept beside the bundle for whoever pushes its folder elsewhere.

`<bundle>.build.json` stands beside the folder `<bundle>` and not in it: it names dvc.lock,
which names the folder's content. A bundle that was changed since is not the one it is of.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ptefoundry.bundle.manifest import EXPORTER, Manifest, load_manifest
from ptefoundry.errors import ArtifactError
from ptefoundry.files import versioned_json, write_json
from ptefoundry.registry.trust.build_record import BuildRecord, GitState, Source
from ptefoundry.registry.trust.version_signatures import VersionFiles

_FORMAT = 1
_ENDING = ".build.json"


def record_path(bundle: Path) -> Path:
    """Where the record of a bundle's folder is kept."""
    folder = bundle.resolve()
    return folder.with_name(folder.name + _ENDING)


def keep_record(bundle: Path, record: BuildRecord) -> None:
    """Write the record of how a bundle was built; which version it becomes is left out."""
    manifest = load_manifest(bundle)
    fields = asdict(with_fetched(record, manifest))
    del fields["version"]
    digest = manifest.digest
    write_json(record_path(bundle), {"format_version": _FORMAT, "bundle": digest, **fields})


def find_record(bundle: Path, version: VersionFiles) -> BuildRecord | None:
    """The record that was kept of a bundle, as one of this version; None if there is none.

    Raises:
        ArtifactError: it is malformed, or of another bundle.
    """
    path = record_path(bundle)
    if not path.is_file():
        return None
    remedy = "build the bundle again, or remove the record"
    with versioned_json(
        path, _FORMAT, what="the record of a build", remedy=remedy, error=ArtifactError
    ) as fields:
        if fields["bundle"] != (digest := load_manifest(bundle).digest):
            raise ArtifactError(
                f"{path}: bundle: expected {digest}, the bundle in {bundle}, found "
                f"{fields['bundle']!r:.80}: it was changed since it was built; {remedy}"
            )
        git = fields["git"]
        return BuildRecord(
            version=version,
            base=_source(fields["base"]),
            adapters=tuple(map(_source, fields["adapters"])),
            params=dict(fields["params"]),
            toolchain={key: dict(value) for key, value in fields["toolchain"].items()},
            dvc_lock=fields["dvc_lock"],
            git=None if git is None else GitState(**git),
            environment=dict(fields["environment"]),
        )


def with_fetched(record: BuildRecord, bundle: Manifest) -> BuildRecord:
    """A record with the digests of what was fetched, which params.yaml need not pin."""
    described = describe_bundle(bundle, record.version)
    return replace(record, base=described.base, adapters=described.adapters)


def describe_bundle(bundle: Manifest, version: VersionFiles) -> BuildRecord:
    """What a bundle says of itself where nobody kept how it was built: enough for its bill."""
    exporters = {
        name: {key: str(value) for key, value in backend.get(EXPORTER, {}).items()}
        for name, backend in bundle.backends.items()
    }
    return BuildRecord(
        version=version,
        base=_origin(bundle.base.get("name", ""), bundle.base),
        adapters=tuple(_origin(name, origin) for name, origin in sorted(bundle.adapters.items())),
        params={},
        toolchain=exporters,
    )


def _source(fields: dict[str, Any]) -> Source:
    return Source(name=fields["name"], source=fields["source"], sha256=fields["sha256"])


def _origin(name: str, origin: dict[str, str]) -> Source:
    digest = origin.get("digest")
    return Source(
        name=name,
        source=origin.get("source", ""),
        sha256=digest.removeprefix("sha256:") if digest is not None else None,
    )
