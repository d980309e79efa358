import pytest

from support.adapter_parity import convert, make_base
from support.tiny_models import ARCHITECTURES, save_tiny_adapter


@pytest.fixture(scope="package")
def tiny(tmp_path_factory):
    """Architecture -> a base, and the folders of two adapters by name: fetched and converted."""
    import peft  # noqa: F401  urllib3 opens a socket on import, which some tests forbid

    made = {}
    for architecture in ARCHITECTURES:
        folder = tmp_path_factory.mktemp(architecture)
        base = make_base(folder, architecture)
        adapters = {}
        for seed, (name, options) in enumerate(
            {"red": {}, "blue": {"rank": 2, "targets": ("q_proj", "v_proj")}}.items(), start=1
        ):
            save_tiny_adapter(base.source, folder / name, seed=seed, lora_alpha=16, **options)
            adapters[name] = (folder / name, convert(base, folder / name))
        made[architecture] = (base, adapters)
    return made


@pytest.fixture
def llama(tiny):
    base, adapters = tiny["LlamaForCausalLM"]
    return base, {name: converted for name, (_, converted) in adapters.items()}
