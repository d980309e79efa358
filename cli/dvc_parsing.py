"""Letting DVC parse and check each of its files once.

DVC parses params.yaml again for each stage, and dvc.yaml and dvc.lock for each target that it is
given: of some hundred adapters that takes minutes, though the text is the same.
"""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_KEPT = 8
"""Texts that are remembered: DVC reads four files, of which one changes."""
_GRAPH, _LOCK = "dvc.yaml", "dvc.lock"


@contextmanager
def parsed_once() -> Iterator[None]:
    """For the time of the block DVC remembers what it has read, as long as it is the same."""
    from dvc import dvcfile
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    parse, load = _yaml.parse_yaml, dvcfile.load_file
    _yaml.parse_yaml = strictyaml.parse_yaml = _remember_texts(parse)
    dvcfile.load_file = _remember_graph(load)
    try:
        yield
    finally:
        _yaml.parse_yaml = strictyaml.parse_yaml = parse
        dvcfile.load_file = load


def _remember_texts(parse: Callable[..., Any]) -> Callable[..., Any]:
    memory: dict[str, bytes] = {}

    def remember(text: str, path: Any, typ: str = "safe") -> Any:
        if typ != "safe":
            return parse(text, path, typ=typ)
        if text in memory:
            # Written here, a few lines below. A copy, as who asks may change it.
            return pickle.loads(memory[text])  # noqa: S301
        data = parse(text, path, typ=typ)
        if len(memory) == _KEPT:
            memory.pop(next(iter(memory)))
        memory[text] = pickle.dumps(data)
        return data

    return remember


def _remember_graph(load: Callable[..., Any]) -> Callable[..., Any]:
    """Of dvc.yaml the whole object: checking all stages takes as long as parsing them."""
    memory: dict[tuple[Any, ...], Any] = {}

    def remember(repo: Any, path: Any, **options: Any) -> Any:
        if options or Path(path).name != _GRAPH:
            return load(repo, path, **options)
        key = (id(repo), str(path), *map(_state, (Path(path), Path(path).with_name(_LOCK))))
        if key not in memory:
            memory.clear()
            memory[key] = load(repo, path)
        return memory[key]

    return remember


def _state(path: Path) -> tuple[int, int, int] | None:
    """Differs if a file was written meanwhile."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
