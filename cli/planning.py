"""What a build of a workspace would do. Nothing is changed, dvc.yaml neither."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.errors import InputError
from ptefoundry.graph import GRAPH_FILE, graph_text
from ptefoundry.params import load_params
from ptefoundry.toolchain import current_toolchain
from ptefoundry.workspace import Workspace

from .graph import GraphError, PlannedStage, plan_stages
from .leftovers import find_leftovers
from .stage_names import stage_descriptions
from .template_list import TemplateRow, list_rows


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would change."""

    stages: tuple[PlannedStage, ...]
    """All stages, in about the order of a build."""
    new_graph: bool
    """Whether dvc.yaml does not follow params.yaml yet."""
    removes: tuple[str, ...]
    """Files and folders of adapters that are gone, relative to the workspace."""
    templates: tuple[TemplateRow, ...] | None
    """What programs are linked from, as base and adapters were converted last; None: not yet."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = None if self.templates is None else [row.to_dict() for row in self.templates]
        return {
            "stages": [stage.to_dict() for stage in self.stages],
            "new_graph": self.new_graph,
            "removes": list(self.removes),
            "templates": rows,
        }


def plan_build(workspace: Workspace) -> Plan:
    """Plan a build of everything.

    Raises:
        ConfigError: params.yaml is wrong.
        BuildError: another build is running.
    """
    root, params = workspace.root, load_params(workspace.root)
    graph, text = root / GRAPH_FILE, graph_text(params)
    new_graph = not graph.is_file() or graph.read_text() != text
    return Plan(
        stages=_plan_new_graph(root, text) if new_graph else _plan_graph(root),
        new_graph=new_graph,
        removes=tuple(
            path.relative_to(root).as_posix() for path in find_leftovers(workspace, params)
        ),
        templates=plan_templates(workspace),
    )


def plan_templates(workspace: Workspace) -> tuple[TemplateRow, ...] | None:
    """The templates that a build links from; None: base and adapters are not converted yet."""
    try:
        rows = list_rows(workspace)
    except InputError:
        return None
    return tuple(row for row in rows if row.needed_by)


def _plan_graph(root: Path) -> tuple[PlannedStage, ...]:
    return plan_stages(root, current_toolchain())


def _plan_new_graph(root: Path, text: str) -> tuple[PlannedStage, ...]:
    """Stages of the graph to come: those that DVC knows, and new ones by name."""
    try:
        known = {stage.name: stage for stage in _plan_graph(root)}
    except GraphError:
        # Whatever is there, the build writes it anew.
        known = {}
    names = stage_descriptions(text)
    planned = []
    for name, description in names.items():
        stage = known.get(name) or PlannedStage(
            name=name, description=description, reasons=("new in the graph",), after=()
        )
        after = tuple(other for other in stage.after if other in names)
        planned.append(dataclasses.replace(stage, after=after))
    return tuple(planned)
