"""What is stale, spread over machines that build at once: a matrix for GitHub Actions.

A leg is one run of `ptefoundry build` on one machine: adapters of one backend that are linked
from one template, in batches. Linking takes seconds, so what a batch costs is mostly the
answers of its adapters' originals. What legs have in common, each makes or finds in the cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ptefoundry.errors import ConfigError
from ptefoundry.params import Params
from ptefoundry.workspace import BASE_VARIANT

from .planning import Plan
from .targets import COREML, backend_names, smoke_stage

MOST_LEGS = 256
"""Jobs of one matrix, GitHub's limit."""
_RUNNER = "ubuntu-24.04"


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One machine's part of a build."""

    name: str
    backend: str
    runner: str
    """Label of the machine to run on."""
    variants: tuple[str, ...]
    """Adapters, `base` for the base alone."""

    @property
    def arguments(self) -> str:
        """For `ptefoundry build`; names have no character that a shell would change."""
        return " ".join(
            (f"--backend {self.backend}", *(f"--adapter {name}" for name in self.variants))
        )

    def to_dict(self) -> dict[str, Any]:
        """As a matrix has it."""
        return {**asdict(self), "variants": len(self.variants), "arguments": self.arguments}


def plan_legs(params: Params, plan: Plan, *, batch: int) -> tuple[Leg, ...]:
    """The legs that make what is stale.

    Args:
        params: what there is.
        plan: what a build would do.
        batch: most variants of a leg; a CoreML program is one leg with all of them.

    Raises:
        ConfigError: there would be more legs than a matrix may have.
    """
    legs = [leg for backend in backend_names(params) for leg in _legs(params, plan, backend, batch)]
    if len(legs) > MOST_LEGS:
        raise ConfigError(
            f"--batch: expected at most {MOST_LEGS} legs, found {len(legs)} with {batch} variants "
            "each; give a larger number"
        )
    return tuple(legs)


def _legs(params: Params, plan: Plan, backend: str, batch: int) -> Iterator[Leg]:
    stale = {stage.name for stage in plan.stages if stage.would_run}
    variants = [
        name for name in (BASE_VARIANT, *params.adapters) if smoke_stage(backend, name) in stale
    ]
    groups = [variants] if backend == COREML else _by_template(plan, variants)
    size = max(len(variants), 1) if backend == COREML else batch
    batches = [group[at : at + size] for group in groups for at in range(0, len(group), size)]
    for number, names in enumerate(batches, start=1):
        yield Leg(
            name=f"{backend}-{number}",
            backend=backend,
            runner=_RUNNER,
            variants=tuple(names),
        )


def _by_template(plan: Plan, variants: Sequence[str]) -> list[list[str]]:
    """Variants with the same template together; the base with the first of them.

    Those of which nothing is known yet, remote ones that were never converted, are one group.
    """
    template = {name: row.key for row in plan.templates for name in row.needed_by}
    groups: dict[str | None, list[str]] = {}
    for name in variants:
        if name != BASE_VARIANT:
            groups.setdefault(template.get(name), []).append(name)
    found = list(groups.values())
    if BASE_VARIANT in variants:
        found = [[BASE_VARIANT, *found[0]], *found[1:]] if found else [[BASE_VARIANT]]
    return found


def to_matrix(legs: Sequence[Leg]) -> dict[str, Any]:
    """What `strategy.matrix` takes, by `fromJSON`."""
    return {"include": [leg.to_dict() for leg in legs]}
