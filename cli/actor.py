"""Who does something to a registry, as its history says it."""

import getpass
import os
import platform

ACTOR_VARIABLE = "PTEFOUNDRY_ACTOR"


def actor() -> str:
    """PTEFOUNDRY_ACTOR, else the GitHub Actions run, else user and machine."""
    if given := os.environ.get(ACTOR_VARIABLE):
        return given
    if os.environ.get("GITHUB_ACTIONS") == "true":
        names = ("GITHUB_ACTOR", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
        who, repository, run = (os.environ.get(name, "") for name in names)
        return f"{who} ({repository}, run {run})"
    return f"{getpass.getuser()}@{platform.node()}"
