"""Checks of files that were just built, by reading them again.

ExecuTorch's own save function reports a failed write only in its log, and a
program without its data fails on the device. So every file is parsed again and
programs and foundation are matched key by key.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from ptefoundry.errors import VerificationError
from ptefoundry.lowering.eos import METHOD as EOS_IDS
from ptefoundry.lowering.ptd import DataFile, read_ptd
from ptefoundry.lowering.pte import Program, read_pte
from ptefoundry.lowering.segments import NamedData, content_digest

_PIECE_BYTES = 8 << 20
_METADATA = ("get_max_context_len", "get_max_seq_len", "get_vocab_size", EOS_IDS)


def check_program(
    program_file: Path, foundation: DataFile, *, eos_ids: tuple[int, ...] | None = None
) -> Program:
    """Check that a program is complete with a foundation and takes all of its keys right.

    The bytes of the foundation are not read: `check_foundation` does that, once
    for all programs.

    Args:
        program_file: the `.pte`.
        foundation: its data.
        eos_ids: what `get_eos_ids` must return; None for anything.

    Returns:
        The program as it was read.

    Raises:
        VerificationError: a method or key is missing, metadata is wrong, a key stands in both
            files, or a content key of the program does not fit its bytes.
        ArtifactError: a file cannot be read.
    """
    program = read_pte(program_file)
    _check_methods(program)
    if eos_ids is not None and program.constants[EOS_IDS] != eos_ids:
        raise VerificationError(
            f"{program_file}: {EOS_IDS}: expected {eos_ids}, found {program.constants[EOS_IDS]}; "
            "the template is broken: delete it, compile it anew and report this"
        )
    _check_keys(program, foundation)
    _check_contents(program_file, program.entries)
    return program


def check_foundation(path: Path) -> None:
    """Check that every content key of a foundation fits its bytes, read in pieces.

    Raises:
        VerificationError: one does not.
        ArtifactError: the file cannot be read.
    """
    entries = [entry for entry in read_ptd(path).entries if content_digest(entry.key)]
    with path.open("rb") as file, ThreadPoolExecutor() as pool:
        digests = pool.map(lambda entry: _hash_data(file.fileno(), entry), entries)
        pairs = zip(entries, digests, strict=True)
        wrong = [entry.key for entry, digest in pairs if content_digest(entry.key) != digest]
        _refuse_wrong(path, wrong)


def _hash_data(descriptor: int, entry: NamedData) -> str:
    """SHA-256 of an entry's bytes; unlike through a mapping, they take no memory."""
    hasher, at, end = sha256(), entry.offset, entry.offset + entry.size
    while piece := os.pread(descriptor, min(end - at, _PIECE_BYTES), at):
        hasher.update(piece)
        at += len(piece)
    return hasher.hexdigest()


def _check_methods(program: Program) -> None:
    if program.entry_points != ("forward",):
        raise VerificationError(
            f"{program.path}: expected the one method forward, found "
            f"{', '.join(program.entry_points) or 'none'}; the export is broken"
        )
    missing = [name for name in _METADATA if name not in program.constants]
    if missing:
        raise VerificationError(
            f"{program.path}: expected the metadata {', '.join(_METADATA)}, "
            f"missing: {', '.join(missing)}; the export is broken"
        )


def _check_keys(program: Program, foundation: DataFile) -> None:
    missing = sorted(program.needs - foundation.keys)
    if missing:
        raise VerificationError(
            f"{program.path}: needs {len(missing)} tensors that {foundation.path} does not have "
            f"({_some(missing)}); they come from different builds, run `ptefoundry build`"
        )
    # The runtime refuses a key that two of its data maps have.
    twice = sorted({entry.key for entry in program.entries} & foundation.keys)
    if twice:
        raise VerificationError(
            f"{program.path}: expected keys that {foundation.path} does not have, found "
            f"{len(twice)} in both ({_some(twice)}); an adapter matrix equals a base tensor"
        )


def _check_contents(file: Path, entries: tuple[NamedData, ...]) -> None:
    wrong = [
        entry.key
        for entry in entries
        if (said := content_digest(entry.key)) and said != entry.digest
    ]
    _refuse_wrong(file, wrong)


def _refuse_wrong(file: Path, wrong: list[str]) -> None:
    if wrong:
        raise VerificationError(
            f"{file}: expected bytes with the sha256 that is their key, found others for "
            f"{len(wrong)} keys ({_some(wrong)}); the file is altered, build it again"
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, ..."
