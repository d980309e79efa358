import json

from ptefoundry.adapter.describe import describe_adapter
from support.tiny_adapters import TINY, lora_tensors, write_adapter


def test_description_without_a_base(tmp_path):
    tensors = {**lora_tensors(["q_proj"], rank=2), **lora_tensors(["down_proj"], rank=4)}
    folder = write_adapter(
        tmp_path,
        tensors=tensors,
        target_modules=["q_proj", "down_proj"],
        rank_pattern={"down_proj": 4},
        peft_version="0.21.2",
    )
    description = describe_adapter(folder)
    assert description.usable
    assert description.targets == ("down_proj", "q_proj")
    assert description.layers == (0, 1)
    assert description.ranks == (2, 4)
    assert description.scales == (1.0, 2.0)
    assert description.dtypes == ("F32",)
    assert description.spelling == "peft"
    assert description.base_model == "example/tiny"
    assert description.peft_version == "0.21.2"
    assert description.parameters == 2 * (2 * (16 + 16) + 4 * (24 + 16))
    assert description.bytes == (folder / "adapter_model.safetensors").stat().st_size


def test_a_base_adds_its_misfits(tmp_path):
    folder = write_adapter(tmp_path, target_modules=["q_proj"])
    assert describe_adapter(folder).usable
    description = describe_adapter(folder, TINY, base_name="other/base")
    assert not description.usable
    (problem,) = description.problems
    assert "would leave out" in problem.found
    assert "'other/base'" in description.warnings[0]


def test_problems_do_not_hide_what_is_readable(tmp_path):
    folder = write_adapter(tmp_path, use_dora=True, r="two", new_field=1)
    description = describe_adapter(folder, TINY)
    assert [problem.field for problem in description.problems] == ["use_dora", "new_field", "r"]
    assert description.ranks == (2,)
    assert description.scales == ()
    assert description.layers == (0, 1)


def test_a_folder_without_anything_is_described(tmp_path):
    description = describe_adapter(tmp_path / "nowhere", TINY)
    assert description.parameters == 0
    assert [problem.field for problem in description.problems] == ["folder"]


def test_json_form(tmp_path):
    fields = json.loads(
        json.dumps(describe_adapter(write_adapter(tmp_path, use_dora=True)).to_dict())
    )
    assert fields["usable"] is False
    assert fields["targets"] == ["q_proj", "v_proj"]
    assert fields["problems"] == [
        {
            "file": "adapter_config.json",
            "field": "use_dora",
            "found": "true",
            "supported": "false or null (DoRA is not a plain sum of matrices; train without it)",
        }
    ]
