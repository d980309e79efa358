"""Checking adapters where they come from, against the base that they are for."""

from pathlib import Path

from ptefoundry.adapter.describe import AdapterDescription, describe_adapter
from ptefoundry.adapter.fit import FittedAdapter, fit_adapter
from ptefoundry.adapter.read import read_adapter
from ptefoundry.base.config import ModelConfig
from ptefoundry.errors import ConfigError
from ptefoundry.lowering.foundation import FOUNDATION_FILE
from ptefoundry.params import Params, load_params
from ptefoundry.workspace import Workspace, find_workspace

from .base import fetched_adapter, load_base_config
from .coreml_cost import adapter_cost
from .sources import Pinned, parse_typed_source
from .targets import COREML, backend_names


def fit_source(workspace: Workspace, params: Params, source: str) -> tuple[Pinned, FittedAdapter]:
    """Fetch an adapter and match it with the workspace's base: what to pin, and how it fits.

    Raises:
        AdapterError: with everything that is wrong or does not fit.
    """
    config = load_base_config(workspace, params)
    with fetched_adapter(source, root=workspace.root) as (folder, pinned):
        fitted = fit_adapter(read_adapter(folder), config, base_name=params.base.name)
    return pinned, fitted


def describe_source(source: str, here: Path) -> tuple[AdapterDescription, str | None]:
    """Describe an adapter with all its problems, and name the base that it was compared with.

    Outside of a workspace there is no base.
    """
    root, config, base_name = _find_base(here)
    folder = Path(source).expanduser()
    # Its own folder shows also what fetching would leave out or stumble over.
    if folder.exists() or ":" not in source:
        return describe_adapter(folder, config, base_name=base_name), base_name
    typed = parse_typed_source(source, root=root, where="SOURCE")
    with fetched_adapter(typed, root=root) as (folder, _pinned):
        return describe_adapter(folder, config, base_name=base_name), base_name


def _find_base(here: Path) -> tuple[Path, ModelConfig | None, str | None]:
    try:
        workspace = find_workspace(here)
    except ConfigError:
        return here, None, None
    params = load_params(workspace.root)
    return workspace.root, load_base_config(workspace, params), params.base.name


def new_stages(workspace: Workspace, params: Params, name: str, fitted: FittedAdapter) -> str:
    """What the next build will do for a new adapter, as text."""
    matrices = (matrix for one in fitted.modules for matrix in (one.lora_a, one.lora_b))
    elements = sum(rows * columns for rows, columns in (matrix.shape for matrix in matrices))
    cost = adapter_cost(workspace, params, elements)
    backends = [name for name in backend_names(params) if name != COREML]
    links = ", ".join(f"link@{backend}-{name}" for backend in backends)
    foundations = (
        workspace.artifacts / "foundation" / backend / FOUNDATION_FILE for backend in backends
    )
    kept = (
        "the foundation is not built again"
        if all(path.is_file() for path in foundations)
        else "the foundation is built first, as it is not yet"
    )
    if not backends:
        return f"`ptefoundry build` will run the smoke run of {name}{cost}"
    return f"`ptefoundry build` will run {links} and the smoke runs of {name}; {kept}{cost}"
