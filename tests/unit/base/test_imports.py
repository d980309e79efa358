import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    ["ptefoundry.base.checkpoints", "ptefoundry.base.convert", "ptefoundry.base.tokenizer"],
)
def test_import_loads_no_heavy_package(module: str) -> None:
    heavy = {"torch", "transformers", "gguf", "tokenizers", "numpy", "jinja2", "safetensors"}
    code = f"import sys, {module}; print(*sorted({heavy!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert result.stdout.split() == []
