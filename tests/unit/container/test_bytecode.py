import importlib.util
import marshal
import os
import py_compile
import subprocess
import sys
from pathlib import Path

from ptefoundry.container import bytecode
from ptefoundry.container.bytecode import settle

SOURCE = "KINDS = frozenset({'b', 'a', None})\n\ndef double(x):\n    return 2 * x\n"


def _import(folder: Path, *first: str) -> bytes:
    """The module's bytecode as a process writes it that has imported others before."""
    names = ", ".join((*first, "module"))
    command = [sys.executable, "-c", f"import {names}"]
    subprocess.run(command, cwd=folder, env={}, check=True)
    path = Path(importlib.util.cache_from_source(str(folder / "module.py")))
    written = path.read_bytes()
    path.unlink()
    return written


def test_settled_bytecode_depends_on_its_source_alone(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(SOURCE)
    first = _import(tmp_path)
    os.utime(source, (1, 1))
    second = _import(tmp_path, "json", "argparse", "email.message")
    assert first != second, "the date of the source is in what Python writes"
    assert settle(first, SOURCE.encode()) == settle(second, SOURCE.encode())


def test_settled_bytecode_runs_without_a_look_at_the_source(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(SOURCE)
    path = Path(py_compile.compile(str(source)) or "")
    path.write_bytes(settle(path.read_bytes(), SOURCE.encode()))
    source.write_text("raise RuntimeError('compiled again')\n")
    command = "import module; print(module.double(21), module.KINDS == {'a', 'b', None})"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "42 True\n"


def test_modules_are_compiled_and_settled(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(SOURCE)
    (tmp_path / "unused.py").write_text(SOURCE)
    command = [sys.executable, bytecode.__file__, tmp_path, "module", "json"]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, check=True)
    (written,) = tmp_path.rglob("*.pyc")
    assert written.name.startswith("module.")
    assert written.read_bytes()[4:8] == b"\x01\x00\x00\x00"
    assert marshal.loads(written.read_bytes()[16:]).co_name == "<module>"


def test_module_that_cannot_be_imported_fails(tmp_path: Path) -> None:
    command = [sys.executable, bytecode.__file__, tmp_path, "json", "no_such_module"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stderr
    assert "cannot be imported" in done.stderr
