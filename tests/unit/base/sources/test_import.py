import subprocess
import sys


def test_import_is_light() -> None:
    script = (
        "import sys, ptefoundry.base.sources\n"
        "heavy = {'boto3', 'botocore', 'httpx2', 'huggingface_hub', 'packaging', 'rich', 'torch'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
