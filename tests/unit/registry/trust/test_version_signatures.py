import base64
import hashlib
import json
from dataclasses import replace

import pytest

from ptefoundry.digest import canonical_json
from ptefoundry.errors import RegistryError, TrustError
from ptefoundry.registry.trust.keys import generate_signer
from ptefoundry.registry.trust.model_signing import IGNORED_PATHS, PREDICATE_TYPE
from ptefoundry.registry.trust.policy import TrustedKey, TrustPolicy
from ptefoundry.registry.trust.sigstore_bundle import BUNDLE_TYPE, sign_statement
from ptefoundry.registry.trust.version_signatures import (
    VersionFiles,
    open_version,
    sign_version,
    verify_version,
)
from support.signed_bundle import INDEX, digests, version_files

NOW = 1_800_000_000.0
SIGNER = generate_signer()
OTHER = generate_signer()
POLICY = TrustPolicy(keys=(TrustedKey(key=SIGNER.public),))
WHOLE = f"version.{SIGNER.public.id[:16]}.sig"
VERSION = version_files()


def _verify(signatures, version: VersionFiles = VERSION, policy: TrustPolicy = POLICY) -> None:
    verify_version(signatures, version, policy=policy, now=NOW, where="here")


def _statement(data: bytes):
    return json.loads(base64.b64decode(json.loads(data)["dsseEnvelope"]["payload"]))


def _altered(change) -> dict[str, bytes]:
    """The version's signature after a change of its statement, signed by the trusted key."""
    statement = _statement(sign_version(VERSION, [SIGNER])[WHOLE])
    change(statement)
    return {WHOLE: sign_statement(statement, SIGNER)}


def test_every_variant_and_the_whole_version_are_signed() -> None:
    signatures = sign_version(VERSION, [SIGNER])
    keyid = SIGNER.public.id[:16]
    assert sorted(signatures) == [
        f"version.{keyid}.sig",
        f"xnnpack.base.{keyid}.sig",
        f"xnnpack.nobel.{keyid}.sig",
    ]
    assert signatures == sign_version(VERSION, [SIGNER])
    _verify(signatures)


def test_some_of_the_variants_are_verified_by_the_signature_of_all() -> None:
    one = replace(VERSION, variants={"xnnpack/nobel": digests("nobel")})
    _verify(sign_version(VERSION, [SIGNER]), one)


def test_format_is_that_of_model_signing() -> None:
    bundle = json.loads(sign_version(VERSION, [SIGNER])[WHOLE])
    assert bundle["mediaType"] == BUNDLE_TYPE == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["verificationMaterial"] == {
        "publicKey": {"hint": SIGNER.public.id},
        "tlogEntries": [],
    }
    assert bundle["dsseEnvelope"]["payloadType"] == "application/vnd.in-toto+json"
    statement = _statement(sign_version(VERSION, [SIGNER])[WHOLE])
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == PREDICATE_TYPE == "https://model_signing/signature/v1.0"
    predicate = statement["predicate"]
    assert predicate["serialization"] == {
        "method": "files",
        "hash_type": "sha256",
        "allow_symlinks": False,
        "ignore_paths": list(IGNORED_PATHS),
    }
    # Folders before what only begins like them, as the other implementation sorts.
    assert [item["name"] for item in predicate["resources"]] == [
        "model.json",
        "tokenizer/tokenizer.json",
        "tokenizer-notes/a",
        "xnnpack/base.pte",
        "xnnpack/foundation.ptd",
        "xnnpack/nobel.pte",
    ]
    root = hashlib.sha256()
    for item in predicate["resources"]:
        root.update(bytes.fromhex(item["digest"]))
    assert statement["subject"] == [{"name": "assistant", "digest": {"sha256": root.hexdigest()}}]


@pytest.mark.parametrize(
    "changes",
    [{"version": "1.3.0"}, {"name": "other"}, {"index": "sha256:" + "0" * 64}],
)
def test_signature_of_another_version_is_refused(changes: dict[str, str]) -> None:
    """No mix-and-match: GHSA-8gw7-4j42-w388 was a signature accepted for what it is not of."""
    others = sign_version(version_files(**changes), [SIGNER])
    with pytest.raises(TrustError, match=r"here: version\..*expected the signature of assistant@"):
        _verify(others)


def test_signature_of_one_variant_is_none_of_all() -> None:
    signatures = sign_version(VERSION, [SIGNER])
    variant = signatures[f"xnnpack.nobel.{SIGNER.public.id[:16]}.sig"]
    one = replace(VERSION, variants={"xnnpack/nobel": digests("nobel")})
    with pytest.raises(TrustError, match="found xnnpack/nobel's"):
        _verify({WHOLE: variant}, one)


def test_unsigned_and_strangers_versions_are_refused() -> None:
    with pytest.raises(TrustError, match="found none"):
        _verify({})
    with pytest.raises(TrustError, match="trusted key"):
        _verify(sign_version(VERSION, [OTHER]))
    limited = TrustPolicy(keys=(TrustedKey(key=SIGNER.public, names=frozenset({"other"})),))
    with pytest.raises(TrustError, match="none that may sign"):
        _verify(sign_version(VERSION, [SIGNER]), policy=limited)
    over = TrustPolicy(keys=(TrustedKey(key=SIGNER.public, not_after=NOW - 1),))
    with pytest.raises(TrustError, match="counted until"):
        _verify(sign_version(VERSION, [SIGNER]), policy=over)


def test_one_of_two_keys_is_enough() -> None:
    """Rotation: clients that know the old key, the new one or both take the same version."""
    signatures = sign_version(VERSION, [SIGNER, OTHER])
    assert len(signatures) == 6
    other = TrustPolicy(keys=(TrustedKey(key=OTHER.public),))
    both = TrustPolicy(keys=POLICY.keys + other.keys)
    for policy in (POLICY, other, both):
        _verify(signatures, policy=policy)
    _verify({**signatures, WHOLE: b"{}"}, policy=other)


def test_altered_file_is_named() -> None:
    files = {**digests("nobel"), "model.json": "0" * 64}
    with pytest.raises(TrustError, match=r"expected model\.json with sha256 .* in the manifest"):
        _verify(
            sign_version(VERSION, [SIGNER]), replace(VERSION, variants={"xnnpack/nobel": files})
        )


def test_file_that_is_not_signed_is_refused() -> None:
    files = {**digests("nobel"), "extra": "0" * 64}
    with pytest.raises(TrustError, match=r"expected extra with sha256 none"):
        _verify(
            sign_version(VERSION, [SIGNER]), replace(VERSION, variants={"xnnpack/nobel": files})
        )
    with pytest.raises(TrustError, match="found none"):
        _verify(sign_version(VERSION, [SIGNER]), replace(VERSION, variants={}))


def test_subject_must_be_that_of_the_resources() -> None:
    """Even under a good signature: the statement contradicts itself."""

    def change(statement) -> None:
        statement["subject"][0]["digest"]["sha256"] = "0" * 64

    with pytest.raises(TrustError, match="subject: expected the digest"):
        _verify(_altered(change))


@pytest.mark.parametrize(
    "change",
    [
        lambda statement: statement["subject"].append(statement["subject"][0]),
        lambda statement: statement.update(subject=[]),
        lambda statement: statement.update(subject=[{"name": "assistant", "digest": None}]),
        lambda statement: statement.update(predicateType="https://slsa.dev/provenance/v1"),
        lambda statement: statement.update(_type="https://in-toto.io/Statement/v0.1"),
        lambda statement: statement.update(predicate=[]),
        lambda statement: statement["predicate"].pop("org.ptefoundry.version"),
        lambda statement: statement["predicate"].pop("serialization"),
        lambda statement: statement["predicate"]["serialization"].update(method="shards"),
        lambda statement: statement["predicate"]["serialization"].update(hash_type="blake3"),
        lambda statement: statement["predicate"].update(resources=[]),
        lambda statement: statement["predicate"]["resources"].append([]),
        lambda statement: statement["predicate"]["resources"].append(
            statement["predicate"]["resources"][0]
        ),
        lambda statement: statement["predicate"]["resources"][0].update(digest="00"),
        lambda statement: statement["predicate"]["resources"][0].update(algorithm="sha1"),
        lambda statement: statement["predicate"]["resources"][0].update(name="manifest.json"),
        lambda statement: statement["predicate"]["resources"][0].update(name="signatures/x"),
    ],
)
def test_malformed_statement_is_refused(change) -> None:
    with pytest.raises(TrustError, match="here: version"):
        _verify(_altered(change))


def test_failed_verification_raises() -> None:
    """model-signing 1.0.1 printed that a wrong signature had passed; here nothing is returned."""
    data = bytearray(sign_version(VERSION, [SIGNER])[WHOLE])
    bundle = json.loads(data)
    sig = bytearray(base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"]))
    sig[-1] ^= 1
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(sig).decode()
    with pytest.raises(TrustError, match="altered"):
        open_version(
            {WHOLE: canonical_json(bundle)},
            name="assistant",
            version="1.4.0",
            index=INDEX,
            policy=POLICY,
            now=NOW,
            where="here",
        )


def test_variants_that_contradict_each_other_are_not_signed() -> None:
    variants = {**VERSION.variants, "xnnpack/base": {"model.json": "0" * 64}}
    with pytest.raises(RegistryError, match=r"model\.json: expected the file of the other"):
        sign_version(replace(VERSION, variants=variants), [SIGNER])


@pytest.mark.parametrize("path", ["manifest.json", "signatures/version.sig", "measured.json"])
def test_files_that_other_verifiers_skip_are_not_signed(path: str) -> None:
    with pytest.raises(RegistryError, match="files of the model only"):
        sign_version(replace(VERSION, variants={"a/b": {path: "0" * 64}}), [SIGNER])
