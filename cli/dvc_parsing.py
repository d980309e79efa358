"""Letting DVC parse each of its files once.

DVC parses params.yaml again for each stage, and dvc.yaml and dvc.lock for each target that it is
given: of some hundred adapters that takes minutes, though the text is the same.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_KEPT = 8
"""Texts that are remembered: DVC reads four files, of which one changes."""


@contextmanager
def parsed_once() -> Iterator[None]:
    """For the time of the block DVC remembers what it has parsed, by the text itself."""
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    parse, memory = _yaml.parse_yaml, dict[str, bytes]()

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

    _yaml.parse_yaml = strictyaml.parse_yaml = remember
    try:
        yield
    finally:
        _yaml.parse_yaml = strictyaml.parse_yaml = parse
