from dataclasses import replace
from pathlib import Path

import pytest

from ptefoundry.base.config import RopeScaling, load_config
from ptefoundry.errors import CheckpointError
from ptefoundry.files import write_json
from support.tiny_adapters import TINY


@pytest.mark.parametrize(
    "scaling",
    [
        None,
        RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=8192),
    ],
)
def test_written_configuration_is_read_back(tmp_path: Path, scaling: RopeScaling | None) -> None:
    config = replace(TINY, rope_scaling=scaling, qk_norm=True)
    write_json(tmp_path / "config.json", config.to_dict())
    assert load_config(tmp_path / "config.json") == config


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"dim": 4}', '{"rope_scaling": {"a": 1}}'])
def test_other_files_are_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json: .*convert the base again"):
        load_config(path)
