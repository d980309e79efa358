"""Building the C++ runner with CMake against the installed ExecuTorch wheel."""

import os
import shutil
import sys
from pathlib import Path

from ptefoundry.errors import MissingToolError
from ptefoundry.files import remove, scratch_folder
from ptefoundry.process import run
from ptefoundry.toolchain import runner_sources
from ptefoundry.wheel import executorch_folder

RUNNER_PROGRAM = Path("bin") / "ptefoundry-runner"


def build_runner(into: Path) -> None:
    """Compile the runner and install it with the libraries that it needs below `into`.

    The same toolchain gives the same bytes, wherever it is built.

    Raises:
        MissingToolError: CMake, Ninja or the ExecuTorch wheel is not installed.
        BuildError: configuring or compiling failed.
    """
    cmake = _program("cmake")
    with scratch_folder(into) as folder:
        build, prefix = folder / "build", folder / "prefix"
        run(
            [
                *(cmake, "-S", runner_sources(), "-B", build, "-G", "Ninja"),
                "-DCMAKE_BUILD_TYPE=MinSizeRel",
                f"-DCMAKE_MAKE_PROGRAM={_program('ninja')}",
                f"-DCMAKE_PREFIX_PATH={executorch_folder()}",
                f"-DCMAKE_INSTALL_PREFIX={prefix.resolve()}",
                "-DPTEFOUNDRY_RUNNER_TESTS=OFF",
            ]
        )
        run([cmake, "--build", build, "--parallel", str(os.cpu_count() or 1)])
        run([cmake, "--install", build])
        remove(into)
        prefix.rename(into)


def runner_program(folder: Path) -> Path:
    """The runner's executable in a folder that `build_runner` made.

    DVC keeps files in its cache without their modes, so it is made executable.
    """
    program = folder / RUNNER_PROGRAM
    if program.is_file() and not os.access(program, os.X_OK):
        _make_executable(program)
    return program


def _make_executable(program: Path) -> None:
    """Replace a file by an executable copy: it may be a hard link to one in DVC's cache."""
    temporary = program.with_name(f".{program.name}.{os.getpid()}.tmp")
    try:
        shutil.copyfile(program, temporary)
        temporary.chmod(0o755)
        temporary.replace(program)
    finally:
        temporary.unlink(missing_ok=True)


def _program(name: str) -> Path:
    """A build tool beside this Python, as pip installs it, else on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise MissingToolError(
            f"expected the program {name}, found none; install it with `pip install {name}`"
        )
    return Path(found)
