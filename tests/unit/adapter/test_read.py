import json
import subprocess
import sys

import pytest

from ptefoundry.adapter.fields import CONFIG_FILE
from ptefoundry.adapter.read import read_adapter
from ptefoundry.adapter.weights import WEIGHTS_FILE
from ptefoundry.errors import AdapterError
from support.tiny_adapters import FIELDS, lora_tensors, write_adapter


def refusal_of(folder):
    with pytest.raises(AdapterError) as caught:
        read_adapter(folder)
    return str(caught.value)


def test_a_good_adapter_is_read(tmp_path):
    adapter = read_adapter(write_adapter(tmp_path))
    assert adapter.folder == tmp_path
    assert adapter.options.rank == 2
    assert adapter.options.base_model == "example/tiny"
    assert len(adapter.weights.modules()) == 4


def test_the_configuration_that_torchtune_writes_is_enough(tmp_path):
    fields = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "peft_type": "LORA"}
    assert read_adapter(write_adapter(tmp_path, fields=fields)).options.base_model is None


def test_a_missing_folder_is_refused(tmp_path):
    text = refusal_of(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in text
    assert "found no such folder" in text
    assert CONFIG_FILE in text


def test_weights_without_configuration_are_refused(tmp_path):
    (write_adapter(tmp_path) / CONFIG_FILE).unlink()
    assert f"{CONFIG_FILE}: file: found no such file" in refusal_of(tmp_path)


def test_a_configuration_without_weights_is_refused(tmp_path):
    (write_adapter(tmp_path) / WEIGHTS_FILE).unlink()
    text = refusal_of(tmp_path)
    assert f"{WEIGHTS_FILE}: file: found no such file, beside it {CONFIG_FILE}" in text
    assert "supported: the safetensors file that PEFT's save_pretrained writes" in text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b"null", b'"r"', b"\xff\xfe{}", b"[" * 100_000, b"1" * 5000],
)
def test_files_that_are_no_json_object_are_refused(tmp_path, content):
    (write_adapter(tmp_path) / CONFIG_FILE).write_bytes(content)
    text = refusal_of(tmp_path)
    assert f"{CONFIG_FILE}: file: found" in text
    assert "supported: the JSON object" in text


def test_a_folder_in_place_of_the_configuration_is_refused(tmp_path):
    path = write_adapter(tmp_path) / CONFIG_FILE
    path.unlink()
    path.mkdir()
    assert f"{CONFIG_FILE}: file: found" in refusal_of(tmp_path)


def test_a_field_written_twice_is_refused(tmp_path):
    path = write_adapter(tmp_path) / CONFIG_FILE
    path.write_text(json.dumps(FIELDS)[:-1] + ', "r": 8}')
    assert "written twice: r" in refusal_of(tmp_path)


def test_a_rank_that_the_matrices_do_not_have_is_refused(tmp_path):
    text = refusal_of(write_adapter(tmp_path, r=8))
    assert "other ranks than adapter_config.json has" in text
    assert "layers.0.self_attn.q_proj.lora_A.weight 2 instead of 8" in text


def test_rank_pattern_is_compared_with_the_matrices(tmp_path):
    tensors = {**lora_tensors(["q_proj"], rank=2), **lora_tensors(["v_proj"], rank=3)}
    read_adapter(write_adapter(tmp_path / "a", tensors=tensors, rank_pattern={"v_proj": 3}))
    text = refusal_of(write_adapter(tmp_path / "b", tensors=tensors, rank_pattern={"q_proj": 3}))
    assert "q_proj.lora_A.weight 2 instead of 3" in text
    assert "v_proj.lora_A.weight 3 instead of 2" in text


def test_all_problems_of_both_files_are_told(tmp_path):
    tensors = lora_tensors()
    del tensors["base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"]
    text = refusal_of(write_adapter(tmp_path, tensors=tensors, use_dora=True, bias="all"))
    assert len(text.splitlines()) == 4
    for part in ("use_dora: found true", 'bias: found "all"', "tensors: found no partner"):
        assert part in text


def test_reading_does_not_import_torch():
    code = "import sys, ptefoundry.adapter.read, ptefoundry.adapter.describe; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"torch", "numpy", "peft", "transformers", "safetensors"}
    assert not heavy & set(result.stdout.split())
