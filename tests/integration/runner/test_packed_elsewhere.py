"""Packed weights in a folder that machines of several kinds use."""

import json
import platform
import subprocess
from pathlib import Path

import pytest
from integration.runner.conftest import Runner
from integration.runner.tiny_programs import TinyProgram


@pytest.mark.skipif(platform.machine() != "x86_64", reason="takes a kernel of two personalities")
def test_weights_packed_for_another_processor_are_not_used(
    runner: Runner, base: TinyProgram, tmp_path: Path
) -> None:
    """What the kernel says of this one changes with the process's personality."""
    command: list[str | Path] = [
        *("--program", base.program, "--data", base.foundation, "--packed-cache", tmp_path),
        *("--tokens", "1,5,9,20", "--max-new-tokens", "6", "--json"),
    ]
    done = subprocess.run(
        ["setarch", "i686", runner.program, *command], capture_output=True, text=True, check=True
    )
    reports = [json.loads(done.stdout), runner.json(*command), runner.json(*command)]
    elsewhere, first, again = (report["packed_cache"] for report in reports)
    assert elsewhere["build_s"] > 0
    assert first["build_s"] > 0
    assert first["path"] != elsewhere["path"]
    assert again == first | {"build_s": 0.0}
    for report in reports:
        assert report["programs"][0]["tokens"] == base.greedy([1, 5, 9, 20], 6)
