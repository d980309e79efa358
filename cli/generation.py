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

from .runner import find_runner

_OPTIONS = ("max_new_tokens", "temperature", "top_p", "seed", "threads")


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
        ConfigError: there is no bundle, or a chat is asked of several adapters.
        ArtifactError: the bundle is damaged or has no such variant.
    """
    _check_chat(adapters, generation)
    workspace = _workspace(bundle)
    folder = bundle or (workspace.bundle if workspace else Path())
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: expected a bundle, found none; run `ptefoundry build`")
    manifest = load_manifest(folder)
    variants = [manifest.variant(backend, adapter) for adapter in dict.fromkeys(adapters)]
    runner = find_runner(workspace)
    command = [str(runner), *_file_flags(folder, variants), *_generation_flags(folder, generation)]
    code = subprocess.run(command, check=False).returncode
    # As a shell tells that a program was killed.
    return code if code >= 0 else 128 - code


def _check_chat(adapters: Sequence[str], generation: Generation) -> None:
    if generation.prompts:
        return
    if len(adapters) > 1:
        raise ConfigError("--prompt: expected one for several adapters, as a chat is with one only")
    if generation.json or generation.raw:
        raise ConfigError("--prompt: expected one with --json or --raw, which a chat cannot do")


def _workspace(bundle: Path | None) -> Workspace | None:
    """The workspace that the bundle is in, or this folder; a named bundle does without one."""
    if bundle is None:
        return find_workspace(Path.cwd())
    for place in (bundle, Path.cwd()):
        with contextlib.suppress(ConfigError):
            return find_workspace(place)
    return None


def _file_flags(folder: Path, variants: Sequence[Variant]) -> list[str]:
    files = [("--program", variant.program) for variant in variants]
    shared = dict.fromkeys(name for variant in variants for name in variant.data)
    files += [("--data", name) for name in shared]
    files.append(("--tokenizer", "tokenizer"))
    return [word for flag, name in files for word in (flag, str(folder / name))]


def _generation_flags(folder: Path, generation: Generation) -> list[str]:
    flags = [word for prompt in generation.prompts for word in ("--prompt", prompt)]
    if not generation.prompts:
        flags.append("--chat")
    elif not generation.raw and _has_template(folder / "tokenizer" / "chat.json"):
        flags.append("--chat-template")
    if generation.json:
        flags.append("--json")
    for name in _OPTIONS:
        value = getattr(generation, name)
        if value is not None:
            flags += [f"--{name.replace('_', '-')}", str(value)]
    return flags


def _has_template(chat: Path) -> bool:
    try:
        return bool(json.loads(chat.read_text())["first"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{chat}: expected the bundle's chat format ({error!r}); build or pull it again"
        ) from error
