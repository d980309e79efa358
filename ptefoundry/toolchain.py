"""What a stage's result depends on besides its inputs: code, packages, compilers.

`toolchain.json` in a workspace pins this by content, one section for each kind
of stage, and dvc.yaml names the section as a parameter of the stage. So a new
torch rebuilds programs but does not fetch the base again, and no path into an
installation stands in the graph. `ptefoundry build` brings the file up to date;
a stage that runs with another toolchain than the pinned one refuses.

The code of a stage is the import closure of its module within ptefoundry, less
the modules that can change no output.

A build in a container also pins the content of its image, in every section. What a
section says without it (`describe_section`) identifies what is the same on any machine.
"""

import functools
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptefoundry.digest import hash_bytes, hash_file, hash_files
from ptefoundry.errors import ConfigError
from ptefoundry.files import write_json

TOOLCHAIN_FILE = "toolchain.json"
IMAGE_VARIABLE = "PTEFOUNDRY_IMAGE"
"""Environment variable: content digest of the image that this runs in; not set elsewhere."""

#: Section -> (modules that make the result, packages whose version can change it).
_SECTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fetch": (("stages.fetch_base", "stages.fetch_adapter"), ()),
    "convert": (
        ("stages.convert_base", "stages.convert_adapter"),
        ("gguf", "jinja2", "numpy", "safetensors", "tokenizers", "torch", "transformers"),
    ),
    "reference": (
        ("stages.reference",),
        ("gguf", "peft", "safetensors", "tokenizers", "torch", "transformers"),
    ),
    "quantize": (
        ("stages.quantized_reference",),
        ("executorch", "safetensors", "torch", "torchao"),
    ),
    # Not the stage, which looks templates up by this digest: what makes one.
    "compile": (("lowering.compile",), ("executorch", "torch", "torchao")),
    "foundation": (("stages.foundation",), ("executorch", "numpy", "torch", "torchao")),
    "link": (("stages.signatures", "stages.link"), ()),
    "compile-coreml": (
        ("stages.compile_coreml",),
        ("coremltools", "executorch", "numpy", "protobuf", "safetensors", "torch", "torchao"),
    ),
    "smoke-coreml": (
        ("stages.smoke_coreml",),
        ("executorch", "safetensors", "torch", "torchao"),
    ),
    "runner": (("stages.build_runner",), ("cmake", "executorch", "ninja", "torch")),
    "smoke": (("stages.smoke",), ()),
    # Its manifest says what the programs were exported with.
    "bundle": (
        ("stages.bundle",),
        ("coremltools", "executorch", "numpy", "protobuf", "safetensors", "torch", "torchao"),
    ),
}

_IMAGE = "image"

_IMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n]*)|import\s+([^\n]*))", re.MULTILINE
)

_NO_EFFECT = frozenset(
    f"ptefoundry.{name}"
    for name in (
        "errors",
        "graph",
        "graph_check",
        "peak_memory",
        "process",
        "report",
        "toolchain",
        "workspace",
    )
)

#: Section -> modules that it imports without using what could change the result.
#: Only fetching runs the sources; elsewhere params.yaml's syntax check imports them.
#: Templates follow from values of params.yaml that their recipe has, not from its syntax,
#: and not from how files get to the disk.
_UNUSED: dict[str, set[str]] = {
    "fetch": set(),
    "compile": {"ptefoundry.files", "ptefoundry.params"},
}


def current_toolchain() -> dict[str, dict[str, str]]:
    """The toolchain of this installation: section -> what -> version or digest."""
    return {section: _describe_here(section) for section in _SECTIONS}


def describe_section(section: str) -> dict[str, str]:
    """One section of the toolchain of this installation, whatever it is installed in."""
    names, _ = _SECTIONS[section]
    modules = [f"ptefoundry.{name}" for name in names]
    unused = _NO_EFFECT | _UNUSED.get(section, {"ptefoundry.base.sources"})
    facts = {
        "code": _code_digest(modules, unused),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
    }
    facts |= package_versions(section)
    if section == "runner":
        facts |= {"sources": runner_sources_digest(), "compiler": _compiler_version()}
    return facts


def _describe_here(section: str) -> dict[str, str]:
    image = os.environ.get(IMAGE_VARIABLE)
    return describe_section(section) | ({} if image is None else {_IMAGE: image})


def without_image(section: Mapping[str, Any]) -> dict[str, Any]:
    """What `describe_section` says in the image where `current_toolchain` said this."""
    return {name: value for name, value in section.items() if name != _IMAGE}


def package_versions(section: str) -> dict[str, str]:
    """The packages that a section depends on, in the versions that are installed."""
    return {package: _version(package) for package in _SECTIONS[section][1]}


def pin_toolchain(root: Path, toolchain: Mapping[str, Any] | None = None) -> bool:
    """Bring a workspace's toolchain.json up to date; tells whether it changed.

    Args:
        root: the workspace.
        toolchain: what is to be pinned; None for this installation.
    """
    path = root / TOOLCHAIN_FILE
    current = current_toolchain() if toolchain is None else toolchain
    if path.is_file() and _read(path) == current:
        return False
    write_json(path, current)
    return True


def check_toolchain(root: Path, section: str) -> None:
    """Refuse to run a stage with another toolchain than the pinned one.

    Raises:
        ConfigError: they differ; the message names each difference.
    """
    path = root / TOOLCHAIN_FILE
    if not path.is_file():
        raise ConfigError(
            f"{path}: expected the pinned toolchain, found no file; run `ptefoundry build`"
        )
    pinned, current = _read(path).get(section, {}), _describe_here(section)
    differences = [
        f"{section}.{key}: pinned {pinned.get(key, 'nothing')}, found {current.get(key, 'nothing')}"
        for key in sorted({*pinned, *current})
        if pinned.get(key) != current.get(key)
    ]
    if differences:
        raise ConfigError(
            f"{path}: this installation is not the pinned toolchain:\n  "
            + "\n  ".join(differences)
            + "\ninstall the pinned versions (an image is for `ptefoundry build --container`), or "
            "run `ptefoundry build` to pin this one and rebuild what it can change"
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(
            f"{path}: expected JSON, found something else ({error}); delete the file and run "
            "`ptefoundry build`"
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object; delete it and run `ptefoundry build`")
    return value


def runner_sources() -> Path:
    """The folder with the runner's C++ sources.

    Raises:
        ConfigError: this installation carries none.
    """
    package = Path(__file__).parent
    for folder in (package / "runner", package.parent / "runner"):
        if (folder / "CMakeLists.txt").is_file():
            return folder
    raise ConfigError(
        f"{package}: expected the runner's sources beside the package, found none; "
        "install ptefoundry again"
    )


def runner_sources_digest() -> str:
    """Digest of what the runner is built from."""
    root = runner_sources()
    patterns = ("CMakeLists.txt", "CMakePresets.json", "src/**/*", "cmake/**/*")
    files = (path for pattern in patterns for path in root.glob(pattern) if path.is_file())
    return hash_files(root, (path.relative_to(root).as_posix() for path in files))


def _version(package: str) -> str:
    """The public version: `+cpu` and the like name the same release built for other devices."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _compiler_version() -> str:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        return "not installed"
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def _code_digest(modules: list[str], unused: frozenset[str]) -> str:
    """Digest of the given modules and all of ptefoundry that they import."""
    pending, sources = list(modules), dict[str, str]()
    while pending:
        module = pending.pop()
        if module in sources or module in unused:
            continue
        path = _source_of(module)
        if path is None:
            continue
        sources[module] = hash_file(path)
        pending += _imports_of(path)
    lines = (f"{digest}  {module}\n" for module, digest in sorted(sources.items()))
    return hash_bytes("".join(lines).encode())


@functools.cache
def _source_of(module: str) -> Path | None:
    """A module's file; None for a name inside a module, which `from` imports alike."""
    parts = module.split(".")[1:]
    folder = Path(__file__).parent
    if parts[:1] == ["stages"]:
        # An editable install keeps the stages beside the package, not below it.
        spec = importlib.util.find_spec("ptefoundry.stages")
        assert spec is not None
        assert spec.origin is not None
        folder, parts = Path(spec.origin).parent, parts[1:]
    path = folder.joinpath(*parts)
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


@functools.cache
def _imports_of(path: Path) -> tuple[str, ...]:
    """Modules of ptefoundry that a file imports anywhere, functions included.

    By pattern, because parsing every file would take a fifth of an idle build. A
    statement quoted in a docstring counts too, which can only rebuild too much.
    """
    found: list[str] = []
    for module, names, plain in _IMPORT.findall(path.read_text()):
        origin = f"ptefoundry.stages{module}" if module.startswith(".") else module
        found += [origin, *(f"{origin}.{name}" for name in re.findall(r"\w+", names))]
        found += re.findall(r"[\w.]+", plain)
    return tuple(name for name in found if name.startswith("ptefoundry"))
