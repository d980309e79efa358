"""Letting programs of a bundle answer in the C++ runner."""

import contextlib
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptefoundry.bundle.manifest import Variant, load_manifest
from ptefoundry.errors import ArtifactError, ConfigError
from ptefoundry.workspace import Workspace, find_workspace

from .coreml_run import run_coreml
from .runner import find_runner

COREML = "coreml"
_OPTIONS = (
    *("max_new_tokens", "temperature", "top_p", "seed", "threads"),
    *("packed_cache", "packed_cache_max_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """How to answer; what is None is left to the runner."""

    prompts: tuple[str, ...] = ()
    """None of them: a chat."""
    raw: bool = False
    """Leave out the chat template."""
    json: bool = False
    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    threads: int | None = None
    serve_stdio: bool = False
    """Answer requests instead of prompts."""
    packed_cache: Path | None = None
    packed_cache_max_bytes: int | None = None
    no_packed_cache: bool = False
    compute_units: str | None = None
    """Of a CoreML program."""

    @property
    def is_dialogue(self) -> bool:
        """Whether what to answer, and by which adapter, comes on standard input."""
        return self.serve_stdio or not self.prompts


def run_bundle(
    bundle: Path | None, backend: str, adapters: Sequence[str], generation: Generation
) -> int:
    """Run the programs of some adapters in one process; returns its exit code.

    Args:
        bundle: a bundle's folder; None for that of the workspace.
        backend: of the programs.
        adapters: variants, `base` for the base alone.
        generation: what to answer and how.

    Raises:
        ConfigError: there is no bundle, or options exclude each other.
        ArtifactError: the bundle is damaged or has no such variant.
    """
    _check_options(generation)
    workspace = _workspace(bundle)
    folder = bundle or (workspace.bundle if workspace else Path())
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: expected a bundle, found none; run `ptefoundry build`")
    manifest = load_manifest(folder)
    variants = [manifest.variant(backend, adapter) for adapter in dict.fromkeys(adapters)]
    if backend == COREML:
        return run_coreml(folder, variants, generation)
    if generation.compute_units is not None:
        raise ConfigError("--compute-units: expected it with --backend coreml alone; leave it out")
    runner = find_runner(workspace)
    others = []
    if generation.is_dialogue:
        others = [v for v in manifest.variants if v.backend == backend and v not in variants]
    command = [
        *(str(runner), *_file_flags(folder, variants, others)),
        *_generation_flags(folder, generation),
    ]
    code = subprocess.run(command, check=False).returncode
    # As a shell tells that a program was killed.
    return code if code >= 0 else 128 - code


def _check_options(generation: Generation) -> None:
    if generation.no_packed_cache and generation.packed_cache is not None:
        raise ConfigError("--no-packed-cache: expected it without --packed-cache; leave one out")
    if generation.serve_stdio:
        if generation.prompts or generation.json:
            raise ConfigError(
                "--serve-stdio: expected no --prompt and no --json, as requests say what to answer"
            )
    elif not generation.prompts and (generation.json or generation.raw):
        raise ConfigError("--prompt: expected one with --json or --raw, which a chat cannot do")


def _workspace(bundle: Path | None) -> Workspace | None:
    """The workspace that the bundle is in, or this folder; a named bundle does without one."""
    if bundle is None:
        return find_workspace(Path.cwd())
    for place in (bundle, Path.cwd()):
        with contextlib.suppress(ConfigError):
            return find_workspace(place)
    return None


def _file_flags(folder: Path, variants: Sequence[Variant], others: Sequence[Variant]) -> list[str]:
    """The files of `variants`, which are loaded, and of `others`, which may be."""
    files = [("--program", variant.program) for variant in variants]
    files += [("--on-demand", variant.program) for variant in others]
    shared = dict.fromkeys(name for variant in (*variants, *others) for name in variant.data)
    files += [("--data", name) for name in shared]
    files.append(("--tokenizer", "tokenizer"))
    return [word for flag, name in files for word in (flag, str(folder / name))]


def _generation_flags(folder: Path, generation: Generation) -> list[str]:
    flags = [word for prompt in generation.prompts for word in ("--prompt", prompt)]
    if generation.serve_stdio:
        flags.append("--serve-stdio")
    elif not generation.prompts:
        flags.append("--chat")
    takes_template = generation.serve_stdio or generation.prompts
    if takes_template and not generation.raw and _has_template(folder / "tokenizer" / "chat.json"):
        flags.append("--chat-template")
    if generation.json:
        flags.append("--json")
    for name in _OPTIONS:
        value = getattr(generation, name)
        if value is not None:
            flags += [f"--{name.replace('_', '-')}", str(value)]
    if generation.no_packed_cache:
        flags.append("--no-packed-cache")
    return flags


def _has_template(chat: Path) -> bool:
    try:
        return bool(json.loads(chat.read_text())["first"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{chat}: expected the bundle's chat format ({error!r}); build or pull it again"
        ) from error
