"""SLSA provenance v1: what a version was built of, by whom and with what.

Specification: slsa.dev/spec/v1.1/provenance, in-toto Statement v1. docs/provenance.md
says field by field what stands where. There are no times in it, so that building the
same commit again, in the same run of CI or none, gives the same statement.
"""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.names import hex_of
from ptefoundry.registry.trust.build_record import DVC_LOCK, BuildRecord, GitState, Source
from ptefoundry.registry.trust.keys import Signer
from ptefoundry.registry.trust.policy import TrustPolicy
from ptefoundry.registry.trust.sigstore_bundle import (
    PAYLOAD_TYPE,
    make_statement,
    open_statement,
    sign_statement,
    statement_subjects,
)

PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://ptefoundry.org/provenance/v1"
"""Names docs/provenance.md; nothing is fetched from there."""
LOCAL_BUILDER = "https://ptefoundry.org/provenance/v1#local"
"""Builder of whoever runs `ptefoundry push` elsewhere than in CI."""
STATEMENT_MEDIA_TYPE = PAYLOAD_TYPE


def make_provenance(record: BuildRecord) -> dict[str, Any]:
    """The statement about a version: its subjects are the index and all files."""
    version = record.version
    subjects = [(f"{version.name}@{version.version}", hex_of(version.index))]
    subjects += sorted(version.files.items())
    return make_statement(
        subjects,
        PREDICATE_TYPE,
        {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _external(record),
                "internalParameters": _internal(record),
                "resolvedDependencies": _dependencies(record),
            },
            "runDetails": _run_details(record.environment),
        },
    )


def sign_provenance(record: BuildRecord, signers: Sequence[Signer]) -> dict[str, bytes]:
    """The statement, signed by each key; without keys as it is, which proves nothing.

    Returns:
        File name -> content: Sigstore bundles, or the statement alone.
    """
    statement = make_provenance(record)
    if not signers:
        return {"provenance.json": canonical_json(statement)}
    return {
        f"provenance.{signer.public.id[:16]}.sigstore.json": sign_statement(statement, signer)
        for signer in signers
    }


def open_provenance(
    data: bytes, *, name: str, index: str, policy: TrustPolicy, now: float, where: str
) -> dict[str, Any]:
    """What a trusted key has stated about a version.

    Args:
        data: a Sigstore bundle.
        name: of the bundle that was asked for.
        index: digest of the version's index, which must be a subject.
        policy: whose signature counts.
        now: seconds since 1970.
        where: names the statement in errors.

    Returns:
        The predicate: `buildDefinition` and `runDetails`.

    Raises:
        TrustError: no trusted key has signed it, or it is of another version.
        RegistryError: it is malformed.
    """
    statement = open_statement(data, PREDICATE_TYPE, policy=policy, name=name, now=now, where=where)
    if hex_of(index) not in statement_subjects(statement, where=where).values():
        raise TrustError(f"{where}: subject: expected {index} among them, found other versions")
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict):
        raise RegistryError(f"{where}: predicate: expected an object, found {predicate!r:.80}")
    return predicate


def _external(record: BuildRecord) -> dict[str, Any]:
    """What whoever started the build decides."""
    external: dict[str, Any] = {"params": dict(record.params)}
    if record.git is not None:
        source = {"repository": record.git.repository, "ref": record.git.ref}
        external["source"] = {key: value for key, value in source.items() if value is not None}
    return external


def _internal(record: BuildRecord) -> dict[str, Any]:
    """What the builder decides."""
    internal: dict[str, Any] = {
        "toolchain": {section: dict(facts) for section, facts in record.toolchain.items()}
    }
    if record.git is not None and not record.git.is_clean:
        internal["uncommittedChanges"] = True
    if record.environment:
        names = ("GITHUB_EVENT_NAME", "GITHUB_REPOSITORY_ID", "RUNNER_ENVIRONMENT")
        found = {name.lower(): record.environment.get(name) for name in names}
        internal["github"] = {key: value for key, value in found.items() if value is not None}
    return internal


def _dependencies(record: BuildRecord) -> list[dict[str, Any]]:
    found = [_describe_source("base", record.base)]
    found += [_describe_source(f"adapters/{adapter.name}", adapter) for adapter in record.adapters]
    if record.git is not None:
        found.append(_describe_git(record.git))
    if record.dvc_lock is not None:
        found.append({"name": DVC_LOCK, "digest": {"sha256": record.dvc_lock}})
    found += [{"name": "image", "digest": {"sha256": digest}} for digest in record.images]
    found += [
        {"name": name, "uri": f"pkg:pypi/{quote(name.lower())}@{quote(version)}"}
        for name, version in record.packages
    ]
    found += [
        {"name": f"toolchain/{section}/{key}", "digest": {"sha256": facts[key]}}
        for section, facts in sorted(record.toolchain.items())
        for key in ("code", "sources")
        if key in facts
    ]
    return found


def _describe_source(name: str, source: Source) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "uri": source.source}
    if source.sha256 is not None:
        described["digest"] = {"sha256": source.sha256}
    return described


def _describe_git(git: GitState) -> dict[str, Any]:
    described: dict[str, Any] = {"name": "source", "digest": {"gitCommit": git.commit}}
    if git.repository is not None:
        described["uri"] = f"git+{git.repository}" + (f"@{git.ref}" if git.ref else "")
    return described


def _run_details(environment: Mapping[str, str]) -> dict[str, Any]:
    builder: dict[str, Any] = {
        "id": LOCAL_BUILDER,
        "version": {"ptefoundry": importlib.metadata.version("ptefoundry")},
    }
    server, workflow = environment.get("GITHUB_SERVER_URL"), environment.get("GITHUB_WORKFLOW_REF")
    if server is None or workflow is None:
        return {"builder": builder}
    repository, run = environment.get("GITHUB_REPOSITORY"), environment.get("GITHUB_RUN_ID")
    attempt = environment.get("GITHUB_RUN_ATTEMPT", "1")
    return {
        "builder": {**builder, "id": f"{server}/{workflow}"},
        "metadata": {
            "invocationId": f"{server}/{repository}/actions/runs/{run}/attempts/{attempt}"
        },
    }
