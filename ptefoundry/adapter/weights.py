"""The matrices in an adapter's safetensors file, without torch.

Reading checks everything that the file alone can tell: that it is whole, that
each tensor is a LoRA matrix of a supported type and that all numbers are finite.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptefoundry.adapter.floats import DTYPES, first_not_finite, is_finite, is_zero
from ptefoundry.adapter.problems import Problem, enumerate_names
from ptefoundry.adapter.spelling import Matrix, Spelling, explain_name, parse_name
from ptefoundry.errors import AdapterError

if TYPE_CHECKING:
    import torch

WEIGHTS_FILE = "adapter_model.safetensors"

_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth")
_CONVERT = (
    'python -c "import torch, safetensors.torch as s; s.save_file('
    "{{k: v.clone() for k, v in torch.load('{0}', weights_only=True).items()}}, '{1}')\""
)
_LINEARS = "LoRA matrices of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj"


@dataclass(frozen=True, kw_only=True)
class LoraMatrix:
    """One tensor of the file and what its numbers are like."""

    name: str
    module: str
    """transformers' name of the adapted linear."""
    matrix: Matrix
    """`a` [rank, in] or `b` [out, rank]."""
    spelling: Spelling
    dtype: str
    """As safetensors has it, for instance BF16."""
    shape: tuple[int, ...]
    not_finite_at: tuple[int, ...] | None
    """Index of the first element that is NaN or infinite."""
    is_zero: bool
    """Every element is zero, as in lora_B before training."""

    @property
    def rank(self) -> int:
        """The rank that the shape has."""
        return self.shape[0 if self.matrix == "a" else 1]


@dataclass(frozen=True, kw_only=True)
class LoraWeights:
    """Index of a weights file; the numbers stay in it."""

    path: Path
    size: int
    """Of the file in bytes."""
    spelling: Spelling
    matrices: dict[tuple[str, Matrix], LoraMatrix]

    def modules(self) -> list[str]:
        """Names in transformers of the modules that have matrices, sorted."""
        return sorted({module for module, _matrix in self.matrices})

    def tensors(self) -> Iterator[tuple[LoraMatrix, "torch.Tensor"]]:
        """Read the matrices as fp32, one at a time.

        Raises:
            AdapterError: the file has changed since it was indexed.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                for _key, matrix in sorted(self.matrices.items()):
                    yield matrix, file.get_tensor(matrix.name).float()
        except (OSError, SafetensorError) as error:
            raise AdapterError(f"{self.path}: changed while it was read ({error})") from error


def read_weights(folder: Path) -> tuple[LoraWeights | None, list[Problem]]:
    """Index an adapter's weights and check every number of them.

    Returns:
        The index, None if the file cannot be read or has no LoRA matrix, and all problems.
    """
    from safetensors import SafetensorError, deserialize

    parse: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = deserialize
    path = folder / WEIGHTS_FILE
    try:
        data = path.read_bytes()
        tensors = parse(data)
    except FileNotFoundError:
        return None, [_explain_missing(folder)]
    except OSError as error:
        return None, [_problem("file", f"{error.strerror}", "a readable file")]
    except SafetensorError as error:
        found = f"{len(data)} bytes that are no whole safetensors file ({error})"
        return None, [_problem("file", found, "a safetensors file; copy it again")]
    named = dict(sorted(tensors, key=lambda item: item[0]))
    matrices = [matrix for name in named if (matrix := _parse(name, named[name]))]
    others = [name for name in named if parse_name(name) is None]
    problems = _check_others(others, any_matrix=bool(matrices)) + _check_matrices(matrices)
    if not matrices:
        return None, problems
    index = {(matrix.module, matrix.matrix): matrix for matrix in matrices}
    spelling = matrices[0].spelling
    return LoraWeights(path=path, size=len(data), spelling=spelling, matrices=index), problems


def _parse(name: str, tensor: dict[str, Any]) -> LoraMatrix | None:
    parsed = parse_name(name)
    if parsed is None:
        return None
    data, dtype = bytes(tensor["data"]), str(tensor["dtype"])
    return LoraMatrix(
        name=name,
        module=parsed.module,
        matrix=parsed.matrix,
        spelling=parsed.spelling,
        dtype=dtype,
        shape=tuple(tensor["shape"]),
        not_finite_at=_find_not_finite(data, dtype, tuple(tensor["shape"])),
        is_zero=is_zero(data),
    )


def _find_not_finite(data: bytes, dtype: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    if is_finite(data, dtype):
        return None
    number, index = first_not_finite(data, dtype), []
    for size in reversed(shape):
        number, at = divmod(number, size)
        index.append(at)
    return tuple(reversed(index))


def _explain_missing(folder: Path) -> Problem:
    """Say what is there instead of the weights; a pickle runs code when it is opened."""
    for name in _PICKLES:
        if (folder / name).exists():
            found = f"only {name}, a pickle, which is never opened here"
            convert = f"safetensors; convert with: {_CONVERT.format(name, WEIGHTS_FILE)}"
            return _problem("file", found, convert)
    present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    found = f"no such file, beside it {enumerate_names(present) or 'nothing'}"
    return _problem("file", found, "the safetensors file that PEFT's save_pretrained writes")


def _check_others(names: list[str], *, any_matrix: bool) -> list[Problem]:
    """One problem for each kind of tensor that is no matrix of a decoder's linear."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds[explain_name(name)].append(name)
    problems = [
        _problem("tensors", f"{kind}: {enumerate_names(group)}", _LINEARS)
        for kind, group in kinds.items()
    ]
    if not any_matrix:
        problems.append(_problem("tensors", "no LoRA matrix at all", _LINEARS))
    return problems


def _check_matrices(matrices: list[LoraMatrix]) -> list[Problem]:
    """Problems of single matrices, then of the two that a module should have."""
    types = [f"{one.name} {one.dtype}" for one in matrices if one.dtype not in DTYPES]
    shapes = [
        f"{one.name} {list(one.shape)}" for one in matrices if len(one.shape) != 2 or 0 in one.shape
    ]
    wild = [
        f"{one.name} {list(one.not_finite_at)}" for one in matrices if one.not_finite_at is not None
    ]
    return [
        *_about("types", types, ", ".join(sorted(DTYPES))),
        *_about("shapes", shapes, "lora_A [rank, in] and lora_B [out, rank]"),
        *_about("NaN or infinity in", wild, "finite numbers; the training or the file is broken"),
        *_check_spelling(matrices),
        *([] if shapes else _check_pairs(matrices)),
    ]


def _check_spelling(matrices: list[LoraMatrix]) -> list[Problem]:
    """Two spellings, or two names of one matrix, leave open which counts."""
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for matrix in matrices:
        names[matrix.module, matrix.matrix].append(matrix.name)
    twice = [" and ".join(group) for group in names.values() if len(group) > 1]
    spellings = sorted({matrix.spelling for matrix in matrices})
    return [
        *_about("two names of one matrix:", twice, "each matrix once"),
        *_about("names of", spellings if len(spellings) > 1 else [], "one spelling in a file"),
    ]


def _check_pairs(matrices: list[LoraMatrix]) -> list[Problem]:
    by_key = {(matrix.module, matrix.matrix): matrix for matrix in matrices}
    lonely, uneven = [], []
    for matrix in matrices:
        partner = by_key.get((matrix.module, "b" if matrix.matrix == "a" else "a"))
        if partner is None:
            lonely.append(matrix.name)
        elif matrix.matrix == "a" and matrix.rank != partner.rank:
            uneven.append(f"{matrix.name} {matrix.rank} and {partner.name} {partner.rank}")
    return [
        *_about("no partner of", lonely, "lora_A and lora_B of each module"),
        *_about("different ranks of", uneven, "one rank for both matrices of a module"),
    ]


def _about(what: str, names: Sequence[str], supported: str) -> list[Problem]:
    """A problem that some tensors share, or none."""
    found = f"{what} {enumerate_names(names)}"
    return [_problem("tensors", found, supported)] if names else []


def _problem(field: str, found: str, supported: str) -> Problem:
    return Problem(file=WEIGHTS_FILE, field=field, found=found, supported=supported)
