"""dvc.yaml: the build graph that follows from params.yaml.

The graph is a function of the parameters: which adapters there are, which of
them are local files (these are dependencies by content), which backends. So
dvc.yaml is generated, by `ptefoundry build` and every command that changes
params.yaml; a stage that runs with a stale one refuses (`ptefoundry.graph_check`).
"""

from importlib.resources import files
from pathlib import Path

from ptefoundry.files import write_text
from ptefoundry.params import Params, load_params

GRAPH_FILE = "dvc.yaml"
_TEMPLATE = "templates/dvc.yaml.j2"
_LOCAL = "file:"


def sync_graph(root: Path) -> bool:
    """Bring a workspace's dvc.yaml up to date; tells whether it changed."""
    if is_current(root):
        return False
    write_text(root / GRAPH_FILE, graph_text(load_params(root)))
    return True


def is_current(root: Path) -> bool:
    """Whether a workspace's dvc.yaml is that of its params.yaml.

    Raises:
        ConfigError: params.yaml is wrong.
    """
    path = root / GRAPH_FILE
    return path.is_file() and path.read_text() == graph_text(load_params(root))


def graph_text(params: Params) -> str:
    """dvc.yaml for the parameters."""
    from jinja2 import Environment, StrictUndefined

    adapters = {name: adapter.source for name, adapter in sorted(params.adapters.items())}
    local = {name: _local_path(source) for name, source in adapters.items() if _is_local(source)}
    environment = Environment(  # noqa: S701  the result is YAML, not HTML
        undefined=StrictUndefined, keep_trailing_newline=True
    )
    template = environment.from_string(files("ptefoundry").joinpath(_TEMPLATE).read_text())
    xnnpack = params.backends.xnnpack
    text: str = template.render(
        local_base=_local_path(params.base.source) if _is_local(params.base.source) else None,
        adapters=list(adapters),
        local_adapters=local,
        remote_adapters=[name for name in adapters if name not in local],
        backends=[] if xnnpack is None else ["xnnpack"],
        coreml=params.backends.coreml is not None,
        quantized=xnnpack is not None and xnnpack.schemes.any,
        shared=" --shared" if xnnpack is not None and xnnpack.templates == "shared" else "",
    )
    return text


def _is_local(source: str) -> bool:
    return source.startswith(_LOCAL)


def _local_path(source: str) -> str:
    return source.removeprefix(_LOCAL)
