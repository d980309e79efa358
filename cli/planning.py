"""What a build of a workspace would do. Nothing is changed, dvc.yaml neither."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptefoundry.graph import GRAPH_FILE, graph_text
from ptefoundry.params import Params, load_params
from ptefoundry.toolchain import without_image
from ptefoundry.workspace import Workspace

from .coreml_cost import program_bytes
from .graph import REDEFINED, GraphError, PlannedStage, plan_stages
from .leftovers import find_leftovers
from .stage_names import redefined_stages, stage_descriptions
from .targets import COMPILE_COREML, coreml_methods
from .template_list import TemplateRow, kept_templates, list_rows, needed_templates


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would change."""

    stages: tuple[PlannedStage, ...]
    """All stages, in about the order of a build."""
    new_graph: bool
    """Whether dvc.yaml does not follow params.yaml yet."""
    removes: tuple[str, ...]
    """Files and folders of adapters that are gone, relative to the workspace."""
    templates: tuple[TemplateRow, ...]
    """What programs are linked from, as the base was converted last."""
    compiled_methods: tuple[str, ...]
    """Methods of the CoreML program that are compiled, which are all or none."""
    program_bytes: int | None = None
    """Size of the CoreML program of the last build; None: there is none."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "stages": [stage.to_dict() for stage in self.stages],
            "new_graph": self.new_graph,
            "removes": list(self.removes),
            "templates": [row.to_dict() for row in self.templates],
            "compiled_methods": list(self.compiled_methods),
            "program_bytes": self.program_bytes,
        }


def plan_build(workspace: Workspace, toolchain: Mapping[str, Any]) -> Plan:
    """Plan a build of everything.

    Args:
        workspace: what would be built.
        toolchain: of the place where it would be.

    Raises:
        ConfigError: params.yaml is wrong.
        BuildError: another build is running.
    """
    root, params = workspace.root, load_params(workspace.root)
    graph, text = root / GRAPH_FILE, graph_text(params)
    new_graph = not graph.is_file() or graph.read_text() != text
    stages = (
        _plan_new_graph(root, graph, text, toolchain) if new_graph else plan_stages(root, toolchain)
    )
    return Plan(
        stages=stages,
        new_graph=new_graph,
        removes=tuple(
            path.relative_to(root).as_posix() for path in find_leftovers(workspace, params)
        ),
        templates=plan_templates(workspace, toolchain),
        compiled_methods=_compiled_methods(params, stages),
        program_bytes=program_bytes(workspace),
    )


def _compiled_methods(params: Params, stages: tuple[PlannedStage, ...]) -> tuple[str, ...]:
    """An adapter is a method of the program: a new or changed one compiles it anew."""
    would_run = any(stage.name == COMPILE_COREML and stage.would_run for stage in stages)
    return coreml_methods(params) if would_run else ()


def plan_templates(workspace: Workspace, toolchain: Mapping[str, Any]) -> tuple[TemplateRow, ...]:
    """The templates that a build with a toolchain links from, as far as they are known."""
    needed = needed_templates(workspace, without_image(toolchain["compile"]))
    return tuple(row for row in list_rows(needed, kept_templates(workspace)) if row.needed_by)


def _plan_new_graph(
    root: Path, graph: Path, text: str, toolchain: Mapping[str, Any]
) -> tuple[PlannedStage, ...]:
    """Stages of the graph to come: those that DVC knows, and new ones by name."""
    try:
        known = {stage.name: stage for stage in plan_stages(root, toolchain)}
    except GraphError:
        # Whatever is there, the build writes it anew.
        known = {}
    names = stage_descriptions(text)
    redefined = redefined_stages(graph.read_text(), text) if known else set()
    planned = []
    for name, description in names.items():
        stage = known.get(name) or PlannedStage(
            name=name, description=description, reasons=("new in the graph",), after=()
        )
        after = tuple(other for other in stage.after if other in names)
        reasons = stage.reasons
        if name in redefined and REDEFINED not in reasons:
            reasons = (*reasons, REDEFINED)
        planned.append(dataclasses.replace(stage, after=after, reasons=reasons))
    return tuple(planned)
