"""What is built: unit tests that pass, and one self-contained tree everywhere."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from integration.runner.conftest import (
    RUNNER_SOURCES,
    Runner,
    beside_python,
    configure_and_build,
    install,
)

LIBRARIES = (
    "libexecutorch.so",
    "libexecutorch_backend_xnnpack.so",
    "libexecutorch_kernels_optimized.so",
    "libexecutorch_kernels_quantized.so",
    "libexecutorch_threadpool.so",
)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_unit_tests_pass(build_folder: Path) -> None:
    done = subprocess.run(
        [beside_python("ctest"), "--test-dir", build_folder, "--output-on-failure"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "100% tests passed" in done.stdout


def test_the_installed_tree_is_the_same_wherever_it_is_built(
    build_folder: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "some" / "other" / "place"
    install(build_folder, here)
    sources = tmp_path / "moved sources"
    shutil.copytree(RUNNER_SOURCES, sources, ignore=shutil.ignore_patterns("build"))
    configure_and_build(sources, tmp_path / "other-build", "-DPTEFOUNDRY_RUNNER_TESTS=OFF")
    install(tmp_path / "other-build", there)
    assert digests(here) == digests(there)
    assert set(digests(here)) == {
        "bin/ptefoundry-runner",
        *(f"lib/{library}" for library in LIBRARIES),
    }
    program = (here / "bin" / "ptefoundry-runner").read_bytes()
    for path in (RUNNER_SOURCES, build_folder, tmp_path, Path(beside_python("")).parent):
        assert str(path).encode() not in program


def test_an_installed_tree_finds_its_own_libraries(build_folder: Path, tmp_path: Path) -> None:
    install(build_folder, tmp_path / "installed")
    moved = (tmp_path / "installed").rename(tmp_path / "moved")
    listed = subprocess.run(
        ["ldd", moved / "bin" / "ptefoundry-runner"], capture_output=True, text=True, check=True
    )
    for library in LIBRARIES:
        assert f"{library} => {moved}/bin/../lib/{library} " in listed.stdout
    done = Runner(moved / "bin" / "ptefoundry-runner", tmp_path / "cache").run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("ptefoundry-runner ")
