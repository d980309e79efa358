"""Both reference clients as commands."""

import pytest

from support.reference_clients import ReferenceClient, python_client, typescript_client


@pytest.fixture(scope="session", params=["python", "typescript"])
def command(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> ReferenceClient:
    """A client without a registry; TypeScript's is compiled once."""
    if request.param == "python":
        return python_client()
    return typescript_client(tmp_path_factory.mktemp("typescript"))
