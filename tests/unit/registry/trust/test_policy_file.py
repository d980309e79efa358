import logging
from pathlib import Path

import pytest

from ptefoundry.errors import ConfigError
from ptefoundry.params import load_params
from ptefoundry.registry.documents import parse_time
from ptefoundry.registry.trust.keys import generate_signer
from ptefoundry.registry.trust.policy_file import (
    TRUST_VARIABLE,
    find_policy,
    load_policy,
    warn_unverified,
)

SIGNER = generate_signer()
OTHER = generate_signer()
PEM = SIGNER.public.pem.decode()
WORKSPACE = """\
bundle: {name: assistant}
base: {name: org/model, source: "file:model"}
adapters: {}
backends: {xnnpack: {}}
smoke: {prompts: [hello]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "a.pub").write_bytes(SIGNER.public.pem)
    (tmp_path / "keys" / "b.pub").write_bytes(OTHER.public.pem)
    return tmp_path


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _seconds(text: str) -> float:
    return parse_time(text, where="")


def test_policy_of_params(folder: Path) -> None:
    _write(
        folder / "params.yaml",
        WORKSPACE
        + """\
trust:
  keys:
    - key: keys/a.pub
      names: [assistant]
      not_before: 2026-01-01
      not_after: 2027-01-01T12:00:00+02:00
    - key: keys/b.pub
      not_after: "2028-01-01T00:00:00Z"
  require_expiry: false
""",
    )
    policy = find_policy(section=load_params(folder).trust, root=folder, environment={})
    assert policy is not None
    assert not policy.require_expiry
    first, second = policy.keys
    assert first.key == SIGNER.public
    assert first.names == {"assistant"}
    assert first.not_before == _seconds("2026-01-01T00:00:00Z")
    assert first.not_after == _seconds("2027-01-01T10:00:00Z")
    assert second.key == OTHER.public
    assert second.names is None
    assert second.not_after == _seconds("2028-01-01T00:00:00Z")


def test_without_keys_there_is_no_policy(folder: Path) -> None:
    _write(folder / "params.yaml", WORKSPACE)
    section = load_params(folder).trust
    assert find_policy(section=section, root=folder, environment={}) is None
    assert find_policy(environment={TRUST_VARIABLE: " "}) is None


def test_key_may_stand_in_the_file(folder: Path) -> None:
    indented = PEM.replace("\n", "\n      ")
    path = _write(folder / "trust.yaml", f"keys:\n  - key: |\n      {indented}\n")
    (trusted,) = load_policy(path).keys
    assert trusted.key == SIGNER.public


def test_most_particular_policy_counts_alone(folder: Path) -> None:
    _write(folder / "params.yaml", WORKSPACE + "trust: {keys: [{key: keys/a.pub}]}\n")
    section = load_params(folder).trust
    file = _write(folder / "trust.yaml", "keys: [{key: keys/b.pub}]\n")

    def ids(**settings) -> list[str]:
        policy = find_policy(section=section, root=folder, **settings)
        assert policy is not None
        return [item.key.id for item in policy.keys]

    assert ids(environment={}) == [SIGNER.public.id]
    assert ids(environment={TRUST_VARIABLE: str(file)}) == [OTHER.public.id]
    assert ids(environment={TRUST_VARIABLE: str(folder / "keys" / "b.pub")}) == [OTHER.public.id]
    assert ids(environment={TRUST_VARIABLE: OTHER.public.pem.decode()}) == [OTHER.public.id]
    assert ids(environment={TRUST_VARIABLE: str(file)}, file=folder / "keys" / "a.pub") == [
        SIGNER.public.id
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("keys: []\n", "expected at least one key"),
        ("require_expiry: true\n", "expected at least one key"),
        ("key: keys/a.pub\n", r"trust\.yaml:1: key: expected only known keys"),
        (
            "keys:\n  - key: keys/a.pub\n    until: 2027\n",
            r"trust\.yaml:3: keys\.0\.until: expected only known",
        ),
        ("keys: [{key: keys/c.pub}]\n", r"keys\[0\]: key: .*c\.pub"),
        ("keys: [{key: keys/a.pub, not_after: soon}]\n", r"keys\[0\]: not_after: .*'soon'"),
        (
            "keys: [{key: keys/a.pub, not_before: 2027-01-01, not_after: 2026-01-01}]\n",
            "after not_before",
        ),
        ("keys: [{key: keys/a.pub, names: []}]\n", "expected bundles"),
        ("keys: [{key: keys/a.pub, names: [../x]}]\n", "bundle's name"),
        ("keys: [{key: keys/a.pub}, {key: keys/a.pub}]\n", "twice"),
        ("require_expiry: 1\nkeys: [{key: keys/a.pub}]\n", "require_expiry"),
        ("- keys\n", "mapping"),
    ],
)
def test_policy_that_is_not_usable_is_refused(folder: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_policy(_write(folder / "trust.yaml", text))


def test_missing_policy_does_not_turn_verification_off(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        find_policy(environment={TRUST_VARIABLE: str(folder / "none.yaml")})


def test_warning_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    warn_unverified.cache_clear()
    with caplog.at_level(logging.WARNING, "ptefoundry"):
        warn_unverified()
        warn_unverified()
    (record,) = caplog.records
    assert record.getMessage().startswith("no trust policy names keys")
