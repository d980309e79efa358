"""Names of stages in dvc.yaml that commands ask for."""

import dataclasses
from collections.abc import Collection, Sequence

from ptefoundry.errors import ConfigError
from ptefoundry.params import Params
from ptefoundry.workspace import BASE_VARIANT

COMPILE_COREML = "compile-coreml"
"""The stage that compiles all methods of the CoreML program."""
XNNPACK = "xnnpack"
"""The backend whose variants are programs, linked from templates."""
COREML = "coreml"
"""The backend whose variants are methods of one program."""


def backend_names(params: Params) -> tuple[str, ...]:
    """The backends that params.yaml builds for."""
    names = (field.name for field in dataclasses.fields(params.backends))
    return tuple(name for name in names if getattr(params.backends, name) is not None)


def coreml_methods(params: Params) -> tuple[str, ...]:
    """All methods of the CoreML program; none if there is no such backend."""
    from ptefoundry.coreml.methods import list_methods

    coreml = params.backends.coreml
    if coreml is None:
        return ()
    methods = list_methods(params.adapters, multifunction=coreml.multifunction)
    return tuple(method.name for method in methods)


def find_targets(
    params: Params, *, backends: Sequence[str], adapters: Sequence[str]
) -> tuple[str, ...]:
    """The smoke runs, and with them all that they need, of some variants; none for everything.

    Args:
        params: what there is.
        backends: those that are wanted; none for all.
        adapters: those that are wanted, `base` for the base alone; none for all.

    Raises:
        ConfigError: one of them is not in params.yaml.
    """
    known_backends, known_adapters = backend_names(params), (BASE_VARIANT, *params.adapters)
    _check_known("--backend", backends, known_backends)
    _check_known("--adapter", adapters, known_adapters)
    if not backends and not adapters:
        return ()
    return tuple(
        smoke_stage(backend, adapter)
        for backend in backends or known_backends
        for adapter in adapters or known_adapters
    )


def smoke_stage(backend: str, adapter: str) -> str:
    """The stage that proves one variant."""
    if backend == COREML:
        return f"smoke-coreml@{adapter}"
    if adapter == BASE_VARIANT:
        return f"smoke-base@{backend}"
    return f"smoke@{backend}-{adapter}"


def _check_known(option: str, asked: Sequence[str], known: Collection[str]) -> None:
    for name in asked:
        if name not in known:
            raise ConfigError(f"{option}: expected one of {', '.join(known)}, found {name!r}")
