"""What a machine needs for the stages of a build, and what of it is there."""

import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ptefoundry.toolchain import TOOLCHAIN_FILE, describe_section

_ALL = "all"

#: Section of toolchain.json -> its stages. The section names the packages.
_STAGES = {
    "convert": ("convert-base", "convert-adapter"),
    "reference": ("reference",),
    "quantize": ("quantized-reference",),
    "compile": ("compile",),
    "foundation": ("foundation",),
    "runner": ("build-runner",),
}

#: Package -> stages that use it without a word of it in toolchain.json.
_PACKAGES = {
    "dvc": (_ALL,),
    "jinja2": (_ALL,),
    "pydantic": (_ALL,),
    "ruamel.yaml": (_ALL,),
    "boto3": ("fetch-base", "fetch-adapter"),
    "huggingface_hub": ("fetch-base", "fetch-adapter"),
    "pip": ("fetch-base", "fetch-adapter"),
    "numpy": ("smoke",),
    "safetensors": ("smoke",),
}

_EXACT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^;\s]+)")
_NOT_PACKAGES = {"code", "compiler", "python", "sources"}
_NOT_INSTALLED = "not installed"

#: Header -> Debian's package, Homebrew's package.
_HEADERS = {
    "nlohmann/json.hpp": ("nlohmann-json3-dev", "nlohmann-json"),
    "pcre2.h": ("libpcre2-dev", "pcre2"),
    "utf8proc.h": ("libutf8proc-dev", "utf8proc"),
}

_LITTLE_SPACE_BYTES = 5 << 30


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that stages need."""

    stages: tuple[str, ...]
    """Those that need it; `all` for every one."""
    name: str
    found: str | None
    """Version or place; None if it is missing."""
    get: str
    """How to get it."""

    @property
    def ok(self) -> bool:
        """Whether it is there."""
        return self.found is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True, kw_only=True)
class DiskSpace:
    """Room for files of one kind."""

    what: str
    path: str
    free_bytes: int

    @property
    def low(self) -> bool:
        """Whether a build of a base with a billion parameters would not fit."""
        return self.free_bytes < _LITTLE_SPACE_BYTES

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "low": self.low}


def find_needs(root: Path | None) -> list[Need]:
    """Look for everything that stages need; versions are those that `root` pins."""
    return [_git(), *_packages(_pinned_versions(root)), *_compiler_needs()]


def measure_space(places: Mapping[str, Path]) -> list[DiskSpace]:
    """Free space where things are kept; folders need not exist yet."""
    found = []
    for what, path in places.items():
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        free = shutil.disk_usage(existing).free
        found.append(DiskSpace(what=what, path=str(path), free_bytes=free))
    return found


def _git() -> Need:
    found, get = _program_version("git"), _system_package("git", "git")
    return Need(stages=(_ALL,), name="git", found=found, get=get)


def _packages(pinned: Mapping[str, str]) -> Iterator[Need]:
    needed = {name: list(stages) for name, stages in _PACKAGES.items()}
    for section, stages in _STAGES.items():
        for name in describe_section(section):
            if name not in _NOT_PACKAGES:
                needed.setdefault(name, []).extend(stages)
    for name, names in sorted(needed.items()):
        version = f"=={pinned[name]}" if name in pinned else ""
        way = "ensurepip" if name == "pip" else f"pip install {name}{version}"
        yield Need(
            stages=(_ALL,) if _ALL in names else tuple(names),
            name=f"Python package {name}",
            found=_version(name),
            get=f"{sys.executable} -m {way}",
        )


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pinned_versions(root: Path | None) -> dict[str, str]:
    """Package -> version: of a workspace's toolchain.json, else what ptefoundry asks for."""
    wanted = (_EXACT.match(text) for text in importlib.metadata.requires("ptefoundry") or ())
    versions = {found["name"]: found["version"] for found in wanted if found}
    if root is None or not (root / TOOLCHAIN_FILE).is_file():
        return versions
    try:
        sections = json.loads((root / TOOLCHAIN_FILE).read_text())
        facts = dict(fact for section in sections.values() for fact in section.items())
    except (ValueError, AttributeError):
        # A build tells what is wrong with it.
        return versions
    pinned = {name: str(version) for name, version in facts.items()}
    return {**versions, **{key: one for key, one in pinned.items() if one != _NOT_INSTALLED}}


def _compiler_needs() -> Iterator[Need]:
    stages = _STAGES["runner"]
    compiler = shutil.which("g++") or shutil.which("c++")
    yield Need(
        stages=stages,
        name="C++17 compiler",
        found=_program_version(compiler) if compiler and _compiles(compiler, []) else None,
        get=_system_package("g++", None),
    )
    for header, (debian, brew) in _HEADERS.items():
        there = compiler is not None and _compiles(compiler, [header])
        yield Need(
            stages=stages,
            name=f"header {header}",
            found="found" if there else None,
            get=_system_package(debian, brew),
        )


def _compiles(compiler: str, headers: Iterable[str]) -> bool:
    """Whether C++17 with these headers gets through the preprocessor."""
    lines = ["#if __cplusplus < 201703L", "#error", "#endif"]
    lines += [f"#include <{header}>" for header in headers]
    options = ("-std=c++17", "-DPCRE2_CODE_UNIT_WIDTH=8", "-E", "-x", "c++", "-")
    done = subprocess.run(
        [compiler, *options],
        input="\n".join(lines) + "\n",
        text=True,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _program_version(program: str) -> str | None:
    path = shutil.which(program)
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0] if done.returncode == 0 else None


def _system_package(debian: str, brew: str | None) -> str:
    if platform.system() == "Darwin":
        return f"brew install {brew}" if brew else "xcode-select --install"
    if shutil.which("apt-get"):
        return f"apt-get install {debian}"
    return f"install what Debian calls {debian}"
