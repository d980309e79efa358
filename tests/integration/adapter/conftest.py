import pytest

from support.adapter_parity import make_base
from support.tiny_models import ARCHITECTURES


@pytest.fixture(scope="package")
def bases(tmp_path_factory):
    """A tied base of each architecture, converted once for all tests."""
    import peft  # noqa: F401  urllib3 opens a socket on import, which some tests forbid

    return {name: make_base(tmp_path_factory.mktemp(name), name) for name in ARCHITECTURES}


@pytest.fixture(params=ARCHITECTURES)
def base(request, bases):
    """Each architecture in turn."""
    return bases[request.param]


@pytest.fixture
def llama(bases):
    return bases["LlamaForCausalLM"]
