"""What a user sets up for an S3-compatible store: its endpoint, and a lifecycle rule."""

import json
from typing import Any

import pytest

from ptefoundry import s3
from support.packed import BUNDLE
from support.places import Place, check_whole, environment_of
from support.seaweedfs import S3Server
from support.shell import Shell, finish

BUCKET, PREFIX = "shared-with-others", "team/models"
ENDPOINT = "AWS_ENDPOINT_URL"


class Started(Shell):
    """A user who names the endpoint by an option, and has made a registry in a shared bucket."""

    place: Place
    option: tuple[str, str]
    output: str
    notes: str


@pytest.fixture(scope="module")
def started(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Started:
    environment = s3_server.environment()
    with environment_of(environment):
        s3.connect().create_bucket(Bucket=BUCKET)
    place = Place(f"s3://{BUCKET}/{PREFIX}", environment)
    rest = {name: value for name, value in environment.items() if name != ENDPOINT}
    shell = Started(tmp_path_factory.mktemp("started"), rest)
    shell.place, shell.option = place, ("--endpoint-url", s3_server.url)
    init = shell.start("registry", "init", place.url, *shell.option)
    shell.output, shell.notes = finish(init, code=0)
    return shell


def test_the_endpoint_is_an_option_too(started: Started) -> None:
    assert ENDPOINT not in started.environment
    url, option = started.place.url, started.option
    push = ("push", str(BUNDLE), "--registry", url, "--version", "1.0.0")
    digest = started.json(*push, *option)["digest"]
    assert [row["version"] for row in started.json("ls", url, *option)] == ["1.0.0"]
    assert started.json("pull", url, "tiny@1.0.0", "--to", "app", *option)["changed_files"] == 8
    assert check_whole(started.place.open()) == {"tiny@1.0.0": digest}


def test_init_prints_a_lifecycle_rule_for_the_registry_alone(started: Started) -> None:
    """And the store takes the very rule that is printed."""
    said, _, printed = started.output.partition("{")
    first, *found = said.splitlines()
    assert first == f"s3://{BUCKET}/{PREFIX}/ is a registry; its store was found to do:"
    assert all(line.startswith("  ") and line.endswith(": yes") for line in found)
    assert "replaces all rules of the bucket" in started.notes
    rules: dict[str, Any] = json.loads("{" + printed)
    assert rules == {
        "Rules": [
            {
                "ID": "ptefoundry-abort-uploads",
                "Status": "Enabled",
                "Filter": {"Prefix": f"{PREFIX}/"},
                "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
            }
        ]
    }
    with environment_of(started.place.environment):
        client = s3.connect()
    client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=rules)
    assert client.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"] == rules["Rules"]
