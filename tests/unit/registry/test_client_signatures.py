"""The Python client's own ECDSA against OpenSSL's."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from ptefoundry.registry.trust.keys import Signer, generate_signer
from support.golden_registry import golden_signer
from support.reference_clients import CLIENTS, typescript_client

SOURCE = CLIENTS / "python" / "ptefoundry_client.py"
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture(scope="module")
def client() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ptefoundry_client", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def der(r: int, s: int) -> bytes:
    numbers = [value.to_bytes(value.bit_length() // 8 + 1, "big") for value in (r, s)]
    body = b"".join(bytes([2, len(number)]) + number for number in numbers)
    return bytes([0x30, len(body)]) + body


@pytest.mark.parametrize("signer", [golden_signer(), *(generate_signer() for _ in range(10))])
def test_signatures_of_openssl_hold(client: ModuleType, signer: Signer) -> None:
    """The golden key is the curve's generator, for which two points of the sum are equal."""
    data, other = b"data", generate_signer()
    signature = signer.sign(data)
    assert client._is_signature(signature, signer.public.pem, data)
    assert not client._is_signature(signature, signer.public.pem, b"other data")
    assert not client._is_signature(signature, other.public.pem, data)


@pytest.mark.parametrize(
    ("r", "s"), [(0, 1), (1, 0), (1, 1), (ORDER, 1), (1, ORDER), (ORDER + 1, ORDER + 1)]
)
def test_numbers_that_no_signature_has_are_refused(client: ModuleType, r: int, s: int) -> None:
    assert not client._is_signature(der(r, s), generate_signer().public.pem, b"data")


def test_a_key_on_another_curve_is_refused(client: ModuleType) -> None:
    with pytest.raises(client.ClientError, match="P-256"):
        client._is_signature(der(1, 1), b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END", b"data")


@pytest.mark.parametrize("path", [*CLIENTS.glob("*/*_client.py"), *CLIENTS.glob("*/*-client.ts")])
def test_a_client_stays_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 300


@pytest.mark.parametrize(("setting", "outcome"), [("true", "Failed"), ("", "Skipped")])
def test_without_node_github_fails(
    setting: str, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", setting)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BaseException, match="install Node 20") as raised:
        typescript_client(tmp_path)
    assert type(raised.value).__name__ == outcome


def test_the_client_has_the_grammar_of_python_3_9() -> None:
    ast.parse(SOURCE.read_text(), feature_version=(3, 9))
