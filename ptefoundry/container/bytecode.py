"""Compiles the modules of an image that stages import; the Dockerfile runs it.

    python bytecode.py SITE_PACKAGES

Without bytecode each process would spend half a minute compiling; with all of it the image
would be a quarter larger. Python itself writes it, with the source's date; that is replaced
by the mark of bytecode that is not compared with its source (PEP 552), which never changes
in an image.
"""

import importlib.util
import struct
import subprocess
import sys
from pathlib import Path

#: What stages import, in groups that are imported side by side.
_IMPORTS = (
    (
        "torch",
        "safetensors.torch",
        "transformers.models.auto.modeling_auto",
        "peft",
        "torchao",
        "executorch.exir",
        "executorch.backends.xnnpack.partition.xnnpack_partitioner",
    ),
    (
        "coremltools",
        "gguf",
        "tokenizers",
        "transformers.models.llama.modeling_llama",
        "dvc.repo.reproduce",
        "dvc.commands.repro",
        "dvc_s3",
        "boto3",
        "huggingface_hub",
    ),
)

_MAGIC_BYTES = 4
#: Flags: a hash stands in place of date and size, and is not checked.
_UNCHECKED_HASH = struct.pack("<I", 0b01)
_HEADER_BYTES = 16


def main() -> None:
    """Compile, then mark; fails where one of the modules cannot be imported."""
    commands = [f"import {', '.join(group)}" for group in _IMPORTS]
    processes = [subprocess.Popen([sys.executable, "-c", command]) for command in commands]
    if any([process.wait() != 0 for process in processes]):  # noqa: C419  wait for all
        sys.exit("a module that stages need cannot be imported")
    for path in Path(sys.argv[1]).rglob("__pycache__/*.pyc"):
        path.write_bytes(mark_unchecked(path.read_bytes(), _source_of(path).read_bytes()))


def mark_unchecked(bytecode: bytes, source: bytes) -> bytes:
    """Bytecode with a header that names its source by hash instead of by date."""
    header = bytecode[:_MAGIC_BYTES] + _UNCHECKED_HASH + importlib.util.source_hash(source)
    return header + bytecode[_HEADER_BYTES:]


def _source_of(path: Path) -> Path:
    return Path(importlib.util.source_from_cache(str(path)))


if __name__ == "__main__":
    main()
