import os
from pathlib import Path

import pytest

from ptefoundry.cli.container_credentials import with_credentials
from ptefoundry.cli.container_environment import fetch_environment
from ptefoundry.errors import ConfigError

CONFIG = """\
[profile work]
region = eu-north-1
endpoint_url = https://store.example
aws_access_key_id = KEY
aws_secret_access_key = SECRET
aws_session_token = TOKEN
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a profile of AWS and a login of the hub, which only these files have."""
    for name in os.environ:
        if name.startswith(("AWS_", "HF_TOKEN")) and name != "AWS_CA_BUNDLE":
            monkeypatch.delenv(name)
    (tmp_path / "config").write_text(CONFIG)
    (tmp_path / "token").write_text("hf_login\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_PROFILE", "work")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path


def test_keys_of_a_profile_go_in_place_of_its_name() -> None:
    found = fetch_environment(["s3://bucket/base"])
    assert {name: value for name, value in found.items() if name.startswith("AWS_")} == {
        "AWS_ACCESS_KEY_ID": "KEY",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_SESSION_TOKEN": "TOKEN",
        "AWS_DEFAULT_REGION": "eu-north-1",
        "AWS_ENDPOINT_URL": "https://store.example",
        "AWS_EC2_METADATA_DISABLED": "true",
    } | {name: value for name, value in found.items() if name == "AWS_CA_BUNDLE"}
    assert "HF_TOKEN" not in found


def test_login_of_the_hub_goes_as_a_token() -> None:
    found = with_credentials({"HF_TOKEN_PATH": "/there", "HF_HUB_OFFLINE": "0"}, ["hf:org/model@1"])
    assert found == {"HF_TOKEN": "hf_login", "HF_HUB_OFFLINE": "0"}


def test_nothing_is_looked_up_for_other_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    sources = ["file:models/base", "https://host/x", "pypi:name==1/path"]
    assert with_credentials({"PIP_INDEX_URL": "x"}, sources) == {"PIP_INDEX_URL": "x"}


def test_profile_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(ConfigError, match=r"\(missing\) could not be found; check AWS_\*"):
        with_credentials({}, ["s3://bucket/base"])
