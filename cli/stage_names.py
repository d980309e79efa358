"""Names of the stages in a dvc.yaml that DVC has not seen yet."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from ruamel.yaml import YAML


def stage_descriptions(graph: str) -> dict[str, str]:
    """Stage -> description, in the order of the text, as DVC will name them."""
    stages = YAML(typ="safe").load(graph)["stages"]
    return {
        name: template.get("desc", "")
        for group, stage in stages.items()
        for name, template in _expand(group, stage)
    }


def redefined_stages(before: str, after: str) -> set[str]:
    """Stages of both texts that one of them defines otherwise.

    That its group has other members changes no stage.
    """
    old, new = _definitions(before), _definitions(after)
    return {name for name in old.keys() & new.keys() if old[name] != new[name]}


def _definitions(graph: str) -> dict[str, Any]:
    stages = YAML(typ="safe").load(graph)["stages"]
    found = {}
    for group, stage in stages.items():
        items = stage.get("foreach", {})
        for name, template in _expand(group, stage):
            own = {key: value for key, value in template.items() if key != "matrix"}
            found[name] = (own, items.get(name.removeprefix(f"{group}@")))
    return found


def _expand(group: str, stage: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "foreach" in stage:
        for key in stage["foreach"]:
            yield f"{group}@{key}", stage["do"]
    elif "matrix" in stage:
        for values in product(*stage["matrix"].values()):
            yield f"{group}@{'-'.join(map(str, values))}", stage
    else:
        yield group, stage
