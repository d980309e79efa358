"""The runner's attention operators against ExecuTorch's own, in Python."""

import json
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    """One call of `custom_sdpa`; caches hold `capacity` positions."""

    queries: int
    start: int
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    capacity: int = 96
    batch: int = 1
    causal: bool = True
    masked: bool = False
    scale: float | None = None


CASES = [
    *(Case(queries=1, start=start) for start in (0, 1, 31, 63, 64, 95)),
    *(Case(queries=queries, start=start) for queries in (2, 7, 33, 64) for start in (0, 5, 32)),
    *(
        Case(queries=queries, start=40, heads=heads, kv_heads=kv_heads)
        for queries in (1, 6)
        for heads, kv_heads in ((1, 1), (3, 3), (9, 3), (8, 1), (32, 8))
    ),
    *(Case(queries=4, start=9, head_dim=head_dim) for head_dim in (8, 64, 80, 128)),
    Case(queries=1, start=700, heads=9, kv_heads=3, head_dim=64, capacity=1024),
    Case(queries=130, start=300, heads=9, kv_heads=3, head_dim=64, capacity=512),
    # A single query's keys are split, and its heads go through them together.
    *(
        Case(queries=1, start=start, heads=heads, kv_heads=kv_heads, head_dim=20, capacity=400)
        for start in (126, 127, 128, 129, 383)
        for heads, kv_heads in ((9, 3), (14, 2), (4, 4), (5, 1))
    ),
    # Rows and keys that no tile's height and width divides.
    *(
        Case(queries=queries, start=start, heads=heads, kv_heads=1, head_dim=24)
        for queries in (3, 5, 13)
        for start in (0, 3, 57)
        for heads in (1, 3, 7)
    ),
    Case(queries=1, start=200, heads=6, kv_heads=2, capacity=256, batch=3),
    Case(queries=3, start=2, batch=2),
    Case(queries=3, start=2, scale=0.3),
    Case(queries=3, start=10, causal=False),
    Case(queries=5, start=0, causal=False, masked=True),
    Case(queries=1, start=0, causal=False, masked=True, scale=1.0),
]


def tensor(value: torch.Tensor) -> dict[str, Any]:
    return {"shape": list(value.shape), "data": value.flatten().tolist()}


def run_cases(
    build_folder: Path, cases: list[dict[str, Any]], folder: Path, program: str = "op_check"
) -> list[Any]:
    file = folder / "cases.json"
    file.write_text(json.dumps(cases))
    done = subprocess.run([build_folder / "tests" / program, file], capture_output=True, check=True)
    results = json.loads(done.stdout)
    assert isinstance(results, list)
    return results


def sdpa_inputs(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    torch.manual_seed(case.queries * 1000 + case.start)
    query = torch.randn(case.batch, case.queries, case.heads, case.head_dim)
    key = torch.randn(case.batch, case.capacity, case.kv_heads, case.head_dim)
    mask = torch.randn(case.queries, case.capacity) if case.masked else None
    if mask is not None:
        mask[:, ::3] = -1e30  # JSON has no infinity
    return query, key, torch.randn_like(key), mask


def sdpa_arguments(case: Case) -> list[Any]:
    query, key, value, mask = sdpa_inputs(case)
    return [
        *(tensor(query), tensor(key), tensor(value), case.start),
        *(None if mask is None else tensor(mask), 0.0, case.causal, case.scale),
        tensor(torch.zeros_like(query)),
    ]


@pytest.mark.parametrize("program", ["op_check", "plain_op_check"])
def test_custom_sdpa_equals_executorchs(build_folder: Path, tmp_path: Path, program: str) -> None:
    """In the version for this processor, and in that for processors without AVX2."""
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401

    requests = [{"op": "llama::custom_sdpa.out", "arguments": sdpa_arguments(c)} for c in CASES]
    results = run_cases(build_folder, requests, tmp_path, program)
    for case, result in zip(CASES, results, strict=True):
        query, key, value, mask = sdpa_inputs(case)
        expected = torch.ops.llama.custom_sdpa(
            query, key, value, case.start, mask, 0.0, case.causal, case.scale
        )
        found = torch.tensor(result[-1]).reshape(expected.shape)
        assert (found - expected).abs().max() < TOLERANCE, case


def test_a_kernel_for_every_processor_is_tested(build_folder: Path) -> None:
    programs = [build_folder / "tests" / name for name in ("op_check", "plain_op_check")]
    chosen, plain = (b"arch_x86_64_v3" in program.read_bytes() for program in programs)
    assert chosen == (platform.machine() == "x86_64")
    assert not plain


@pytest.mark.parametrize(("start", "length"), [(0, 1), (0, 16), (5, 3), (15, 1)])
def test_update_cache_equals_executorchs(
    build_folder: Path, tmp_path: Path, start: int, length: int
) -> None:
    from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401

    values, cache = torch.randn(2, length, 3, 4), torch.randn(2, 16, 3, 4)
    arguments = [tensor(values), tensor(cache), start, tensor(torch.zeros(1))]
    requests = [{"op": "llama::update_cache.out", "arguments": arguments}]
    [result] = run_cases(build_folder, requests, tmp_path)
    torch.ops.llama.update_cache(values, cache, start)
    assert torch.equal(torch.tensor(result[1]).reshape(cache.shape), cache)


def test_arguments_that_do_not_fit_are_refused(build_folder: Path, tmp_path: Path) -> None:
    def changed(index: int, value: Any, case: Case) -> dict[str, Any]:
        arguments = sdpa_arguments(case)
        arguments[index] = value
        return {"op": "llama::custom_sdpa.out", "arguments": arguments}

    case = Case(queries=2, start=4)
    masked = Case(queries=2, start=0, causal=False, masked=True)
    cache, values = tensor(torch.zeros(1, 16, 3, 4)), tensor(torch.zeros(1, 2, 3, 4))
    requests = [
        changed(3, 95, case),  # the cache ends before the queries
        changed(3, -1, case),
        changed(0, tensor(torch.zeros(1, 2, 5, 16)), case),  # 5 heads over 2
        changed(1, tensor(torch.zeros(1, 96, 2, 8)), case),
        changed(2, tensor(torch.zeros(1, 95, 2, 16)), case),
        changed(0, tensor(torch.zeros(2, 4, 16)), case),
        changed(6, True, masked),  # both causal and masked
        changed(4, tensor(torch.zeros(2, 95)), masked),
        {
            "op": "llama::update_cache.out",
            "arguments": [values, cache, 15, tensor(torch.zeros(1))],
        },
        {
            "op": "llama::update_cache.out",
            "arguments": [tensor(torch.zeros(1, 2, 2, 4)), cache, 0, tensor(torch.zeros(1))],
        },
    ]
    results = run_cases(build_folder, requests, tmp_path)
    assert results == [None] * len(requests)
