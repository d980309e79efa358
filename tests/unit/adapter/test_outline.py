from pathlib import Path

import pytest

from ptefoundry.adapter.outline import read_signature
from ptefoundry.adapter.weights import WEIGHTS_FILE
from ptefoundry.errors import AdapterError
from support.tiny_adapters import lora_tensors, write_adapter, write_tensors


def test_names_and_shapes_are_the_signature(tmp_path: Path) -> None:
    tensors = lora_tensors(["q_proj"], layers=[1], rank=3) | lora_tensors(["down_proj"], layers=[0])
    folder = write_adapter(tmp_path, tensors=tensors)
    signature = read_signature(folder)
    assert list(signature.items()) == [
        ("layers.0.feed_forward.w2", 2),
        ("layers.1.attention.wq", 3),
    ]


def test_what_has_no_signature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="expected a safetensors file"):
        read_signature(tmp_path)
    tensors = lora_tensors(["q_proj"], layers=[0])
    other = {name.replace("q_proj", "lm_head"): tensor for name, tensor in tensors.items()}
    write_tensors(tmp_path / WEIGHTS_FILE, other)
    with pytest.raises(AdapterError, match=r"lm_head.*: expected a LoRA matrix"):
        read_signature(tmp_path)
    uneven = {
        name: lora_tensors(["q_proj"], layers=[0], rank=2 if "lora_A" in name else 4)[name]
        for name in tensors
    }
    write_tensors(tmp_path / WEIGHTS_FILE, uneven)
    with pytest.raises(AdapterError, match="as its partner has"):
        read_signature(tmp_path)
