"""The CoreML part of a bundle: one program, a variant for each of its methods."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ptefoundry.bundle.manifest import EXPORTER, Variant
from ptefoundry.coreml.build import PROGRAM_FILE
from ptefoundry.coreml.methods import list_methods
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.files import place
from ptefoundry.toolchain import package_versions
from ptefoundry.workspace import Workspace

BACKEND = "coreml"
METHODS = "methods"
"""Key of the backend: adapter -> role -> method, for apps that read and speak with two of them."""


def place_program(
    workspace: Workspace, adapters: list[str], params: CoremlParams, folder: Path
) -> Iterator[Variant]:
    """Put the program into a bundle's folder; yields its variants, `base` first."""
    path = f"{BACKEND}/{PROGRAM_FILE}"
    place(workspace.artifacts / "compile" / BACKEND / PROGRAM_FILE, folder / path)
    for adapter, roles in _methods(adapters, params).items():
        yield Variant(
            backend=BACKEND, adapter=adapter, program=path, data=(), method=roles["forward"]
        )


def describe_backend(adapters: list[str], params: CoremlParams) -> dict[str, Any]:
    """The options, the methods, and what exported them."""
    return asdict(params) | {
        EXPORTER: package_versions("compile-coreml"),
        METHODS: _methods(adapters, params),
    }


def _methods(adapters: list[str], params: CoremlParams) -> dict[str, dict[str, str]]:
    methods: dict[str, dict[str, str]] = {}
    for method in list_methods(adapters, multifunction=params.multifunction):
        methods.setdefault(method.adapter, {})[method.role] = method.name
    return methods
