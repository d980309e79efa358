"""Compiles the modules of an image that stages import; the Dockerfile runs it.

    python bytecode.py FOLDER[:FOLDER...] MODULE[,MODULE...]...

Without bytecode each process would spend half a minute compiling; with all of it the image
would be a quarter larger. Python writes it when it imports, and here it is made to depend on
its source alone: it is marked as not to be compared with it (PEP 552) instead of naming its
date, and has no back references, which depend on what else a process has imported.
"""

import importlib.util
import marshal
import struct
import subprocess
import sys
from pathlib import Path

#: Flags of the header: a hash stands in place of date and size, and is not checked.
_UNCHECKED_HASH = struct.pack("<I", 0b01)
_HEADER_BYTES = 16
#: The last format without back references.
_MARSHAL_VERSION = 2


def main() -> None:
    """Import each list of modules in a process of its own, then settle what was written."""
    folders, groups = sys.argv[1].split(":"), sys.argv[2:]
    processes = [subprocess.Popen([sys.executable, "-c", f"import {group}"]) for group in groups]
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit("a module that stages need cannot be imported")
    for path in (path for folder in folders for path in Path(folder).rglob("__pycache__/*.pyc")):
        source = Path(importlib.util.source_from_cache(str(path)))
        path.write_bytes(settle(path.read_bytes(), source.read_bytes()))


def settle(bytecode: bytes, source: bytes) -> bytes:
    """The same bytecode, as nothing but its source determines it."""
    code = marshal.loads(bytecode[_HEADER_BYTES:])  # noqa: S302  Python has just written it
    hashed = importlib.util.source_hash(source)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + hashed
    return header + marshal.dumps(code, _MARSHAL_VERSION)


if __name__ == "__main__":
    main()
