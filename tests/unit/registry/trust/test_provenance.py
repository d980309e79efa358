import base64
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement_pb2

from ptefoundry.errors import ConfigError, TrustError
from ptefoundry.params import load_params
from ptefoundry.registry.trust.build_record import BuildRecord, record_build
from ptefoundry.registry.trust.keys import generate_signer
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.provenance import (
    LOCAL_BUILDER,
    make_provenance,
    open_provenance,
    sign_provenance,
)
from ptefoundry.registry.trust.sbom import make_sbom
from ptefoundry.registry.trust.version_signatures import sign_version
from support.signed_bundle import INDEX, digests, version_files

NOW = 1_800_000_000.0
SIGNER = generate_signer()
POLICY = TrustPolicy(keys=(TrustedKey(key=SIGNER.public),))
PARAMS = f"""\
bundle: {{name: assistant}}
base: {{name: org/model, source: "hf:org/model@main", digest: {"a" * 64}}}
adapters:
  nobel: {{source: "file:nobel", digest: {"b" * 64}}}
backends: {{xnnpack: {{}}}}
smoke: {{prompts: [hello]}}
"""
TOOLCHAIN = {
    "compile": {"code": "c" * 64, "executorch": "1.5.1", "python": "3.11", "torch": "2.13.0"},
    "runner": {
        "code": "d" * 64,
        "compiler": "g++ 12",
        "executorch": "1.5.1",
        "python": "3.11",
        "sources": "e" * 64,
    },
}
ACTIONS = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "org/assistant",
    "GITHUB_REPOSITORY_ID": "7",
    "GITHUB_WORKFLOW_REF": "org/assistant/.github/workflows/release.yml@refs/tags/v1.4.0",
    "GITHUB_REF": "refs/tags/v1.4.0",
    "GITHUB_RUN_ID": "42",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_EVENT_NAME": "push",
    "GITHUB_TOKEN": "secret",
    "HOME": "/home/somebody",
}


def _git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    command = ["git", *settings, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "toolchain.json").write_text(json.dumps(TOOLCHAIN))
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    _git(tmp_path, "remote", "add", "origin", "https://user:secret@example.org/org/assistant.git")
    return tmp_path


def _record(folder: Path, environment: dict[str, str] | None = None) -> BuildRecord:
    return record_build(folder, load_params(folder), version_files(), environment or {})


def _by_name(statement) -> dict[str, dict[str, object]]:
    found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {item["name"]: item for item in found}


def test_subjects_are_the_index_and_all_files(workspace: Path) -> None:
    statement = make_provenance(_record(workspace))
    subjects = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    index = {"assistant@1.4.0": INDEX.removeprefix("sha256:")}
    assert subjects == {**index, **digests("base", "nobel")}


@pytest.mark.parametrize("environment", [{}, ACTIONS])
def test_statement_has_the_fields_of_slsa(workspace: Path, environment: dict[str, str]) -> None:
    """Parsed by the definitions that in-toto publishes, which refuse unknown fields."""
    statement = make_provenance(_record(workspace, environment))
    json_format.ParseDict(statement, statement_pb2.Statement())
    parsed = json_format.ParseDict(statement["predicate"], provenance_pb2.Provenance())
    for dependency in parsed.build_definition.resolved_dependencies:
        assert dependency.uri or dependency.digest


def test_what_it_was_built_of(workspace: Path) -> None:
    statement = make_provenance(_record(workspace))
    commit = _git(workspace, "rev-parse", "HEAD").strip()
    found = _by_name(statement)
    assert found["base"] == {
        "name": "base",
        "uri": "hf:org/model@main",
        "digest": {"sha256": "a" * 64},
    }
    assert found["adapters/nobel"]["digest"] == {"sha256": "b" * 64}
    assert found["source"] == {
        "name": "source",
        "uri": "git+https://example.org/org/assistant.git",
        "digest": {"gitCommit": commit},
    }
    assert found["executorch"]["uri"] == "pkg:pypi/executorch@1.5.1"
    assert found["toolchain/runner/sources"]["digest"] == {"sha256": "e" * 64}
    assert len(found["dvc.lock"]["digest"]["sha256"]) == 64
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["params"]["bundle"] == {"name": "assistant"}
    assert definition["internalParameters"] == {"toolchain": TOOLCHAIN}
    assert statement["predicate"]["runDetails"]["builder"]["id"] == LOCAL_BUILDER
    assert "secret" not in json.dumps(statement)
    assert str(workspace) not in json.dumps(statement)


def test_github_actions_is_named_as_builder(workspace: Path) -> None:
    statement = make_provenance(_record(workspace, ACTIONS))
    details = statement["predicate"]["runDetails"]
    assert details["builder"]["id"] == (
        "https://github.com/org/assistant/.github/workflows/release.yml@refs/tags/v1.4.0"
    )
    assert details["metadata"]["invocationId"] == (
        "https://github.com/org/assistant/actions/runs/42/attempts/2"
    )
    uri = "git+https://github.com/org/assistant@refs/tags/v1.4.0"
    assert _by_name(statement)["source"]["uri"] == uri
    text = json.dumps(statement)
    assert "secret" not in text
    assert "somebody" not in text


def test_same_commit_gives_the_same_statement(workspace: Path) -> None:
    record = _record(workspace)
    assert make_provenance(record) == make_provenance(_record(workspace))
    assert sign_provenance(record, [SIGNER]) == sign_provenance(record, [SIGNER])
    assert make_sbom(record) == make_sbom(_record(workspace))


def test_uncommitted_changes_are_told(workspace: Path) -> None:
    (workspace / "dvc.lock").write_text("schema: '3.0'\n")
    definition = make_provenance(_record(workspace))["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["uncommittedChanges"] is True


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("git@example.org:org/assistant.git", "git+ssh://example.org/org/assistant.git"),
        ("ssh://git:secret@example.org:22/a", "git+ssh://example.org:22/a"),
        ("/home/somebody/assistant", None),
        ("file:///home/somebody/assistant", None),
    ],
)
def test_addresses_are_public(workspace: Path, address: str, shown: str | None) -> None:
    _git(workspace, "remote", "set-url", "origin", address)
    assert _by_name(make_provenance(_record(workspace)))["source"].get("uri") == shown


def test_without_git_there_is_no_commit(workspace: Path, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("plain")
    for name in ("params.yaml", "toolchain.json"):
        (folder / name).write_bytes((workspace / name).read_bytes())
    found = _by_name(make_provenance(_record(folder)))
    assert "source" not in found
    assert "dvc.lock" not in found


def test_broken_toolchain_is_refused(workspace: Path) -> None:
    (workspace / "toolchain.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"toolchain\.json"):
        _record(workspace)


def test_signed_provenance_is_verified_against_the_index(workspace: Path) -> None:
    record = _record(workspace)
    ((name, data),) = sign_provenance(record, [SIGNER]).items()
    assert name == f"provenance.{SIGNER.public.id[:16]}.sigstore.json"

    def opened(data: bytes, index: str = INDEX, policy: TrustPolicy = POLICY):
        return open_provenance(
            data, name="assistant", index=index, policy=policy, now=NOW, where="here"
        )

    assert opened(data) == make_provenance(record)["predicate"]
    with pytest.raises(TrustError, match="subject: expected sha256:0000"):
        opened(data, index="sha256:" + "0" * 64)
    with pytest.raises(TrustError, match="trusted key"):
        opened(data, policy=TrustPolicy(keys=(TrustedKey(key=generate_signer().public),)))
    # A signature of the files is by the same key, but no provenance.
    signature = sign_version(version_files(), [SIGNER])[f"version.{SIGNER.public.id[:16]}.sig"]
    with pytest.raises(TrustError, match="expected a statement"):
        opened(signature)


def test_without_keys_the_statement_stands_alone(workspace: Path) -> None:
    record = _record(workspace)
    assert json.loads(sign_provenance(record, [])["provenance.json"]) == make_provenance(record)


@pytest.mark.parametrize("license_text", [None, "apache-2.0", "llama3.2", "MIT OR Apache-2.0"])
def test_bill_fits_the_schema_of_cyclonedx(workspace: Path, license_text: str | None) -> None:
    text = make_sbom(_record(workspace), base_license=license_text).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_bill_lists_models_files_and_packages(workspace: Path) -> None:
    bill = json.loads(make_sbom(_record(workspace), base_license="apache-2.0"))
    listed = {item["bom-ref"]: item for item in bill["components"]}
    assert listed["base"]["licenses"] == [{"expression": "Apache-2.0"}]
    assert listed["base"]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    nobel = listed["adapter/nobel"]
    assert nobel["type"] == "machine-learning-model"
    assert nobel["pedigree"]["ancestors"][0]["name"] == "org/model"
    files = {item["name"] for item in listed.values() if item["type"] == "file"}
    assert files == set(digests("base", "nobel"))
    assert listed["pkg:pypi/executorch@1.5.1"]["scope"] == "required"
    assert listed["pkg:pypi/torch@2.13.0"]["scope"] == "excluded"
    assert {item["ref"] for item in bill["dependencies"]} == {"bundle", "adapter/nobel"}
    other = json.loads(
        make_sbom(replace(_record(workspace), version=version_files(index="sha256:" + "1" * 64)))
    )
    assert other["serialNumber"] != bill["serialNumber"]


def test_schema_refuses_a_broken_bill(workspace: Path) -> None:
    """The check above can fail."""
    bill = json.loads(make_sbom(_record(workspace)))
    bill["components"][0]["type"] = "model"
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is not None


def test_bundle_of_provenance_is_dsse(workspace: Path) -> None:
    (data,) = sign_provenance(_record(workspace), [SIGNER]).values()
    envelope = json.loads(data)["dsseEnvelope"]
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    assert SIGNER.public.holds(signature, signed)
