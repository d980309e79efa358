"""What a workspace's dvc.lock records of a build: enough to build again.

dvc.lock has, for each stage that ran, the values of params.yaml and toolchain.json that it
ran with, and a digest of every input and output. It tells more than the two files, which
may have been edited since.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ptefoundry.errors import ConfigError

BUNDLE_STAGE = "bundle"
_FETCHES = ("fetch-base", "fetch-adapter@", "fetch-remote-adapter@")
_PARAMS, _TOOLCHAIN = "params.yaml", "toolchain.json"
_BUILD_AGAIN = "run `ptefoundry build` first"

Stages = Mapping[str, Mapping[str, Any]]
"""Stage -> what dvc.lock has of it."""


@dataclass(frozen=True)
class BuildRecord:
    """A build as dvc.lock tells it."""

    stages: Stages
    params: dict[str, Any]
    """The sections of params.yaml that the stages read, as they read them."""
    toolchain: dict[str, dict[str, str]]
    """The sections of toolchain.json that the stages ran with."""

    @property
    def fetches(self) -> tuple[str, ...]:
        """The stages that make the inputs."""
        return tuple(name for name in self.stages if name.startswith(_FETCHES))

    @property
    def sources(self) -> dict[str, dict[str, str]]:
        """`base`, `adapters.<name>` -> its `source` and, where it is pinned, its `digest`."""
        adapters = self.params.get("adapters", {})
        named = {f"adapters.{name}": adapter for name, adapter in adapters.items()}
        return {"base": self.params["base"], **named}


def read_record(stages: Stages, *, where: str) -> BuildRecord:
    """The record of the last build of a bundle.

    Args:
        stages: of dvc.lock.
        where: names the file in errors.

    Raises:
        ConfigError: no bundle was built, or its stages ran with different toolchains.
    """
    if BUNDLE_STAGE not in stages:
        raise ConfigError(f"{where}: expected the record of a build, found none; {_BUILD_AGAIN}")
    return BuildRecord(
        stages=stages,
        params=_params(stages),
        toolchain=_toolchain(stages, where),
    )


def _params(stages: Stages) -> dict[str, Any]:
    params = dict(_used(stages[BUNDLE_STAGE], _PARAMS))
    for stage in stages.values():
        # The same for all stages that read it: they ran before the bundle.
        if "smoke" in (used := _used(stage, _PARAMS)):
            params["smoke"] = used["smoke"]
    return params


def _toolchain(stages: Stages, where: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, section, facts in _toolchain_sections(stages):
        if found.setdefault(section, facts) != facts:
            raise ConfigError(
                f"{where}: stage {name}: expected all stages of the toolchain's section {section} "
                f"to have run with the same one, found two; {_BUILD_AGAIN}"
            )
    return found


def _toolchain_sections(stages: Stages) -> Iterator[tuple[str, str, dict[str, str]]]:
    for name, stage in stages.items():
        for section, facts in _used(stage, _TOOLCHAIN).items():
            yield name, section, dict(facts)


def _used(stage: Mapping[str, Any], file: str) -> Mapping[str, Any]:
    values: Mapping[str, Any] = stage.get("params", {}).get(file, {})
    return values


def changed_inputs(recorded: Stages, rebuilt: Stages) -> list[str]:
    """Stages that fetched something else than when the bundle was built."""
    return [
        name
        for name, stage in rebuilt.items()
        if name.startswith(_FETCHES) and _content(stage) != _content(recorded.get(name, {}))
    ]


def first_different(recorded: Stages, rebuilt: Stages) -> list[str]:
    """Stages with the same inputs as when the bundle was built, and another output.

    Where these differ, so does all that follows. Measurements differ from run to run.
    """
    return [
        name
        for name, stage in rebuilt.items()
        if name in recorded
        and not name.startswith(("smoke", BUNDLE_STAGE))
        and _inputs(stage) == _inputs(recorded[name])
        and _outputs(stage) != _outputs(recorded[name])
    ]


def _content(stage: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    return _inputs(stage), _outputs(stage)


def _inputs(stage: Mapping[str, Any]) -> dict[str, str]:
    return {entry["path"]: entry["md5"] for entry in stage.get("deps", ())}


def _outputs(stage: Mapping[str, Any]) -> dict[str, str]:
    return {entry["path"]: entry["md5"] for entry in stage.get("outs", ())}
