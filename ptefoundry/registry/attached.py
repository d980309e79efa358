"""Reading what is attached to a version: for people, and to check its provenance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.compressed import read_document
from ptefoundry.registry.publish import (
    BILL_TYPE,
    MEASURED_TYPE,
    PROVENANCE_TYPE,
    SIGNATURES_TYPE,
)
from ptefoundry.registry.referrers import read_attachments
from ptefoundry.registry.resolve import Resolved
from ptefoundry.registry.store.interface import Store
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.trust.provenance import open_provenance

KINDS = {
    "signatures": SIGNATURES_TYPE,
    "provenance": PROVENANCE_TYPE,
    "sbom": BILL_TYPE,
    "measured": MEASURED_TYPE,
}
"""What people call the artifact types."""


def attached_files(store: Store, resolved: Resolved, artifact_type: str) -> dict[str, bytes]:
    """Files of a kind that are attached to a version; of one name the newest.

    Raises:
        RegistryError: what is attached is malformed or missing.
    """
    found: dict[str, bytes] = {}
    for files in read_attachments(
        store,
        resolved.index.digest,
        artifact_type,
        wanted=lambda _name: True,
        read=lambda descriptor: read_document(store, descriptor),
    ):
        found = {**files, **found}
    return found


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a trusted key states of how a version was built."""

    file: str
    builder: str
    source: str | None
    """Commit and where it is from, `git+https://…@<commit>`; None if it does not say."""


def verify_provenance(
    store: Store, resolved: Resolved, *, policy: TrustPolicy, now: float
) -> list[Provenance]:
    """What trusted keys state of a version; one of them is enough.

    Raises:
        TrustError: provenance is attached, and none of it is signed by a trusted key; the text
            says why not for each.
        RegistryError: what is attached is malformed or missing.
    """
    found, problems = [], []
    for file, data in sorted(attached_files(store, resolved, PROVENANCE_TYPE).items()):
        where = f"{store.url}: {resolved}: {file}"
        try:
            predicate = open_provenance(
                data,
                name=resolved.name,
                index=resolved.index.digest,
                policy=policy,
                now=now,
                where=where,
            )
        except (TrustError, RegistryError) as error:
            problems.append(str(error))
        else:
            found.append(_describe(file, predicate))
    if problems and not found:
        raise TrustError(
            f"{'; '.join(problems)}; push the bundle again from where it was built, with a key "
            "that the policy trusts"
        )
    return found


def _describe(file: str, predicate: Mapping[str, Any]) -> Provenance:
    """Of a statement that is signed, but may be of any form."""
    details, definition = predicate.get("runDetails"), predicate.get("buildDefinition")
    builder = details.get("builder") if isinstance(details, dict) else None
    listed = definition.get("resolvedDependencies") if isinstance(definition, dict) else None
    sources = [
        f"{one.get('uri', 'git')}#{one['digest']['gitCommit']}"
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict)
        and isinstance(one.get("digest"), dict)
        and "gitCommit" in one["digest"]
    ]
    return Provenance(
        file=file,
        builder=str(builder.get("id")) if isinstance(builder, dict) else "an unnamed builder",
        source=sources[0] if sources else None,
    )
