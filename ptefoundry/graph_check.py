"""Refusing to run a stage of a stale graph.

Deriving the graph anew takes longer than linking an adapter, for its imports. So
what was compared once is remembered, by the digests of all files concerned.
"""

from pathlib import Path

from ptefoundry.digest import hash_bytes, hash_file
from ptefoundry.errors import ConfigError
from ptefoundry.files import write_text

_MEMORY = Path(".dvc") / "tmp" / "ptefoundry-graph"
_GRAPH, _PARAMS = "dvc.yaml", "params.yaml"
_CODE = (
    *("graph.py", "params.py", "schemes.py", "templates/dvc.yaml.j2"),
    *("coreml/params.py", "coreml/methods.py"),
)


def check_graph(root: Path) -> None:
    """Refuse to work with a dvc.yaml that does not belong to params.yaml.

    Raises:
        ConfigError: it is missing or out of date, or params.yaml is wrong.
    """
    memory, compared = root / _MEMORY, _fingerprint(root)
    if memory.is_file() and memory.read_text() == compared:
        return
    from ptefoundry.graph import is_current

    if not is_current(root):
        raise ConfigError(
            f"{root / _GRAPH}: expected the graph of params.yaml, found another or none; "
            "run `ptefoundry build`, which brings it up to date"
        )
    if memory.parent.is_dir():
        write_text(memory, compared)


def _fingerprint(root: Path) -> str:
    files = [root / _GRAPH, root / _PARAMS, *(Path(__file__).parent / name for name in _CODE)]
    digests = (hash_file(path) if path.is_file() else "none" for path in files)
    return hash_bytes("\n".join(digests).encode())
