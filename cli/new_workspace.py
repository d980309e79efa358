"""Making a workspace: git, DVC, the build graph and the files that say what to build."""

import json
import os
import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from ptefoundry.errors import ConfigError
from ptefoundry.files import write_text
from ptefoundry.graph import GRAPH_FILE, sync_graph
from ptefoundry.process import run
from ptefoundry.toolchain import pin_toolchain
from ptefoundry.workspace import PARAMS_FILE

from .sources import Pinned

_BUNDLE_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_SMOKE_TOKENS = 32
_PLAIN_SCALAR = re.compile(r"[A-Za-z][\w./@=+-]*(:[\w./@=+-]+)*")


@dataclass(frozen=True, kw_only=True)
class NewWorkspace:
    """What a new params.yaml says."""

    name: str
    """Of the bundle."""
    base_name: str
    base: Pinned
    context_length: int


def template(name: str) -> str:
    """The text of a file that every workspace starts with."""
    return (files("ptefoundry") / "templates" / name).read_text()


def check_name(name: str) -> str:
    """Return `name` if a bundle may be called that.

    Raises:
        ConfigError: it may not.
    """
    if not _BUNDLE_NAME.fullmatch(name):
        raise ConfigError(f"--name: expected {_BUNDLE_NAME.pattern}, found {name!r}")
    return name


def check_unused(root: Path) -> None:
    """Refuse a folder that is a workspace or builds something else with DVC.

    Raises:
        ConfigError: with what is there.
    """
    if (root / PARAMS_FILE).exists():
        raise ConfigError(
            f"{root}: expected a folder without {PARAMS_FILE}, found a workspace; change its "
            f"{PARAMS_FILE}, or name another folder"
        )
    if (root / GRAPH_FILE).exists():
        raise ConfigError(
            f"{root}: expected a folder without {GRAPH_FILE}, found another build graph; name a "
            "folder of its own for the workspace, for instance one below it"
        )


def make_workspace(root: Path, new: NewWorkspace) -> None:
    """Make the folder `root` a workspace; can be repeated after an interruption.

    Raises:
        ConfigError: a value cannot be in params.yaml.
        BuildError: git or DVC failed.
    """
    root.mkdir(parents=True, exist_ok=True)
    _init_git(root)
    _init_dvc(root)
    _ignore_artifacts(root)
    pin_toolchain(root)
    # With it the folder is a workspace, and a build can do the rest.
    write_text(root / PARAMS_FILE, _params_text(new))
    sync_graph(root)


def _init_git(root: Path) -> None:
    if _git_root(root) is None:
        run(["git", "init", "--quiet", root])


def _git_root(folder: Path) -> Path | None:
    places = (folder.resolve(), *folder.resolve().parents)
    return next((place for place in places if (place / ".git").exists()), None)


def _init_dvc(root: Path) -> None:
    if (root / ".dvc").is_dir():
        return
    below = ["--subdir"] if _git_root(root) != root.resolve() else []
    quiet = {"DVC_NO_ANALYTICS": "1"}
    run([sys.executable, "-m", "dvc", "init", "--quiet", *below], cwd=root, env=quiet)
    write_text(root / ".dvc" / "config", template("dvc_config"))


def _ignore_artifacts(root: Path) -> None:
    path = root / ".gitignore"
    lines, present = template("gitignore"), path.read_text() if path.exists() else ""
    if "/artifacts/*" not in present.splitlines():
        gap = "\n" if present and not present.endswith("\n") else ""
        write_text(path, present + gap + lines)


def _params_text(new: NewWorkspace) -> str:
    digest = f"\n  digest: {_scalar(new.base.digest)}" if new.base.digest else ""
    return Template(template(PARAMS_FILE)).substitute(
        name=_scalar(new.name),
        base_name=_scalar(new.base_name),
        base_source=_scalar(new.base.source),
        digest=digest,
        context_length=new.context_length,
        # As much again is left to the prompts.
        tokens=min(_SMOKE_TOKENS, new.context_length // 2),
    )


def _scalar(text: str) -> str:
    """A text in YAML, in quotes if it could be read as something else."""
    words = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}
    if _PLAIN_SCALAR.fullmatch(text) and text.lower() not in words:
        return text
    # Every JSON string is a YAML string.
    return json.dumps(text, ensure_ascii=False)


def default_name(root: Path) -> str:
    """A bundle name made of a folder's name."""
    name = re.sub(r"[^a-z0-9_-]+", "-", root.resolve().name.lower()).strip("-_")
    return name or "assistant"


def relative_to_here(root: Path) -> str:
    """How to name a folder from the current one."""
    return os.path.relpath(root)
