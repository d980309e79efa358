"""Adapters for one program: what linking does, by hand."""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from integration.runner.tiny_programs import TinyProgram

from ptefoundry.digest import hash_bytes
from ptefoundry.lowering.pte import Program, read_pte


def with_other_matrices(tiny: TinyProgram, path: Path, seed: int) -> TinyProgram:
    """The program as `path`, with an adapter that no other seed has; nothing is exported anew."""
    program, altered = read_pte(tiny.program), bytearray(tiny.program.read_bytes())
    model = copy.deepcopy(tiny.model)
    generator = torch.Generator().manual_seed(seed)
    replaced = {}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            old = hash_bytes(parameter.detach().numpy().tobytes())
            parameter.data = torch.randn(parameter.shape, generator=generator)
            replaced[old] = parameter.detach().numpy().tobytes()
    assert {entry.key for entry in program.entries} == set(replaced)
    for entry in program.entries:
        altered[entry.offset : entry.offset + entry.size] = replaced[entry.key]
    for key, at in _places(program):
        if key in replaced:
            altered[at : at + len(key)] = hash_bytes(replaced[key]).encode()
    path.write_bytes(altered)
    return TinyProgram(path, tiny.foundation, model, tiny.constants)


def _places(program: Program) -> Iterator[tuple[str, int]]:
    for entry in program.entries:
        yield entry.key, entry.placed_key.at
    for delegate in (one for method in program.methods for one in method.delegates):
        for placed in delegate.placed_keys:
            yield placed.key, placed.at
