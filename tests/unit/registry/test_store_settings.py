"""Policies, CORS and lifecycle rules of the documents: names that S3 knows, for our objects."""

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from moto.iam.policy_validation import IAMPolicyDocumentValidator, IAMTrustPolicyDocumentValidator
from ruamel.yaml import YAML

from support.golden_registry import GOLDEN

ROOT = Path(__file__).parents[3]
Json = dict[str, Any]
ACTIONS = {
    *("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"),
    *("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:ListBucketMultipartUploads"),
    "sts:AssumeRoleWithWebIdentity",
}
CONDITIONS = {
    *("s3:if-none-match", "s3:if-match", "s3:ObjectCreationOperation", "aws:SourceArn"),
    *(f"token.actions.githubusercontent.com:{claim}" for claim in ("aud", "sub")),
}
PREFIX = "arn:aws:s3:::models/registry/"


def _blocks(*keys: str) -> list[Any]:
    """The documents' JSON with one of these keys."""
    return [
        pytest.param(json.loads(text), id=f"{name}-{number}")
        for name in ("registry", "stores")
        for number, text in enumerate(
            re.findall(r"```json\n(.*?)```", (ROOT / "docs" / f"{name}.md").read_text(), re.DOTALL)
        )
        if set(keys) & json.loads(text).keys()
    ]


def _texts(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _statements(found: Json, key: str) -> list[str]:
    return [text for one in found["Statement"] for text in _texts(one.get(key, []))]


def test_all_kinds_are_looked_at() -> None:
    assert len(_blocks("Statement")) == 5
    assert len(_blocks("Rules", "CORSRules")) == 2


@pytest.mark.parametrize("found", _blocks("Statement"))
def test_policies_name_what_is_known(found: Json) -> None:
    assert set(_statements(found, "Action")) <= ACTIONS
    for statement in found["Statement"]:
        for keys in statement.get("Condition", {}).values():
            assert keys.keys() <= CONDITIONS
    for resource in _statements(found, "Resource"):
        assert resource == "arn:aws:s3:::models" or resource.startswith(PREFIX)


@pytest.mark.parametrize("found", _blocks("Statement"))
def test_policies_have_the_grammar_of_iam(found: Json) -> None:
    principals = [statement.pop("Principal", None) for statement in found["Statement"]]
    if any(isinstance(one, dict) and "Federated" in one for one in principals):
        IAMTrustPolicyDocumentValidator(json.dumps(found)).validate()
    else:
        IAMPolicyDocumentValidator(json.dumps(found)).validate()


def test_everybody_may_read_all_that_an_app_asks_for_and_nothing_of_gc() -> None:
    (found,) = [
        one.values[0]
        for one in _blocks("Statement")
        if "EverybodyReads" in _statements(one.values[0], "Sid")
    ]
    allowed = [resource.removeprefix(PREFIX) for resource in _statements(found, "Resource")]
    for path in GOLDEN.rglob("*"):
        if path.is_file():
            key = path.relative_to(GOLDEN).as_posix()
            assert any(fnmatchcase(key, pattern) for pattern in allowed), key
    for key in ("gc/condemned/0.json", "leases/0.json", "templates/0/map.json"):
        assert not any(fnmatchcase(key, pattern) for pattern in allowed)


@pytest.mark.parametrize("found", _blocks("Rules", "CORSRules"))
def test_rules_are_what_boto3_would_send(found: Json) -> None:
    name, field = ("Cors", "CORS") if "CORSRules" in found else ("LifecycleConfiguration", "")
    model = botocore.session.get_session().get_service_model("s3")
    shape = model.operation_model(f"PutBucket{name}").input_shape
    parameters = {"Bucket": "models", f"{field or 'Lifecycle'}Configuration": found}
    assert ParamValidator().validate(parameters, shape).generate_report() == ""


def test_web_apps_may_send_what_clients_do() -> None:
    ((rule,),) = [one.values[0]["CORSRules"] for one in _blocks("CORSRules")]
    assert {"Range", "If-None-Match"} <= set(rule["AllowedHeaders"])
    assert {"ETag", "Content-Range"} <= set(rule["ExposeHeaders"])


def test_the_trust_policy_is_for_the_environments_of_the_workflows() -> None:
    (found,) = [
        one.values[0]
        for one in _blocks("Statement")
        if "sts:AssumeRoleWithWebIdentity" in _statements(one.values[0], "Action")
    ]
    condition = found["Statement"][0]["Condition"]["StringEquals"]
    subjects = condition["token.actions.githubusercontent.com:sub"]
    used = set()
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        jobs = YAML(typ="safe").load(path.read_text())["jobs"].values()
        used |= {job["environment"] for job in jobs if "environment" in job}
    assert sorted(subjects) == sorted(f"repo:ORG/REPO:environment:{name}" for name in used)
