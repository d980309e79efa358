"""dvc.yaml: the build graph that follows from params.yaml.

The graph is a function of the parameters: which adapters there are, which of
them are local files (these are dependencies by content), which backends. So
dvc.yaml is generated, by `ptefoundry build` and every command that changes
params.yaml; a stage that runs with a stale one refuses.
"""

from importlib.resources import files
from pathlib import Path

from ptefoundry.errors import ConfigError
from ptefoundry.files import write_text
from ptefoundry.params import Params, load_params

GRAPH_FILE = "dvc.yaml"
_TEMPLATE = "templates/dvc.yaml.j2"
_LOCAL = "file:"


def sync_graph(root: Path) -> bool:
    """Bring a workspace's dvc.yaml up to date; tells whether it changed."""
    path, text = root / GRAPH_FILE, graph_text(load_params(root))
    if path.is_file() and path.read_text() == text:
        return False
    write_text(path, text)
    return True


def check_graph(root: Path) -> None:
    """Refuse to work with a dvc.yaml that does not belong to params.yaml.

    Raises:
        ConfigError: it is missing or out of date.
    """
    path = root / GRAPH_FILE
    if not path.is_file() or path.read_text() != graph_text(load_params(root)):
        raise ConfigError(
            f"{path}: expected the graph of params.yaml, found another or none; "
            "run `ptefoundry build`, which brings it up to date"
        )


def graph_text(params: Params) -> str:
    """dvc.yaml for the parameters."""
    from jinja2 import Environment, StrictUndefined

    adapters = {name: adapter.source for name, adapter in sorted(params.adapters.items())}
    local = {name: _local_path(source) for name, source in adapters.items() if _is_local(source)}
    environment = Environment(  # noqa: S701  the result is YAML, not HTML
        undefined=StrictUndefined, keep_trailing_newline=True
    )
    template = environment.from_string(files("ptefoundry").joinpath(_TEMPLATE).read_text())
    text: str = template.render(
        local_base=_local_path(params.base.source) if _is_local(params.base.source) else None,
        adapters=list(adapters),
        local_adapters=local,
        remote_adapters=[name for name in adapters if name not in local],
        backends=["xnnpack"],
        quantized=params.backends.xnnpack.schemes.any,
    )
    return text


def _is_local(source: str) -> bool:
    return source.startswith(_LOCAL)


def _local_path(source: str) -> str:
    return source.removeprefix(_LOCAL)
