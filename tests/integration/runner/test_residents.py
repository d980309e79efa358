"""Programs that are in memory together: whose weights they share, and what each adds."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from integration.runner.conftest import Runner
from integration.runner.other_matrices import with_other_matrices
from integration.runner.serving import Server
from integration.runner.tiny_programs import (
    CONTEXT,
    N_HEADS,
    N_KV_HEADS,
    Recipe,
    TinyProgram,
    build_model,
    tiny_program,
)

from ptefoundry.lowering.pte import read_pte
from support.shared_folder import shared_folder

PROMPT = [1, 5, 9, 20]
DIM = 512
SMALL = 10 << 20
"""Bytes that a program may add to memory beside its own tensors and its cache."""

Serve = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def serve(runner: Runner, tmp_path: Path) -> Serve:
    """Starts a process with programs that wait to be asked for, and packed weights of its own."""

    @contextmanager
    def start(*programs: Path, data: Path, options: tuple[str, ...] = ()) -> Iterator[Server]:
        on_demand = [option for path in programs for option in ("--on-demand", path)]
        arguments = ["--serve-stdio", *on_demand, "--data", data, "--quiet", *options]
        server = Server(Runner(runner.program, tmp_path / "cache"), arguments)
        yield server
        server.process.kill()
        server.process.communicate()

    return start


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TinyProgram, TinyProgram]:
    """Adapters with a `lora_b` of 512 x 4 and one of 256 x 8, of nothing but zeros.

    Their base has 54 MB, which would be missed in memory.
    """
    recipes = {
        name: Recipe(
            lora=True, rank=rank, targets=targets, trained=False, layers=1, dim=DIM, hidden_dim=8192
        )
        for name, rank, targets in (("narrow", 4, ("q_proj",)), ("wide", 8, ("v_proj",)))
    }
    with shared_folder(tmp_path_factory, "runner-untrained") as folder:
        narrow, wide = (
            tiny_program(build_model(recipe), folder, name) for name, recipe in recipes.items()
        )
    return narrow, wide


@pytest.fixture
def again(untrained: tuple[TinyProgram, TinyProgram], tmp_path: Path) -> Path:
    """The narrow one's program under another name."""
    return Path(shutil.copy(untrained[0].program, tmp_path / "again.pte"))


def test_equal_bytes_of_other_shapes_are_not_in_memory_together(
    serve: Serve, untrained: tuple[TinyProgram, TinyProgram]
) -> None:
    narrow, wide = untrained
    with serve(narrow.program, wide.program, data=wide.foundation) as server:
        for first, second in ((narrow, wide), (wide, narrow)):
            names = [program.program.stem for program in (first, second)]
            expected = first.greedy(PROMPT, 6)
            assert server.ask(op="load", adapter=names[0])["load_s"] > 0
            error = server.ask(op="load", adapter=names[1])["error"]
            assert "has a matrix of shape [" in error
            assert f"in {names[0]}, which is in memory" in error
            answer = server.ask(adapter=names[0], tokens=PROMPT, max_new_tokens=6)
            assert answer["tokens"] == expected
            assert server.ask(op="unload", adapter=names[0])["op"] == "unload"


def test_equal_bytes_of_other_shapes_in_one_program_are_refused(
    runner: Runner, untrained: tuple[TinyProgram, TinyProgram], tmp_path: Path
) -> None:
    narrow, _ = untrained
    program, altered = read_pte(narrow.program), bytearray(narrow.program.read_bytes())
    zeros, other = sorted(program.entries, key=lambda entry: any(entry.blob.data))
    for delegate in (one for method in program.methods for one in method.delegates):
        for placed in delegate.placed_keys:
            if placed.key == other.key:
                altered[placed.at : placed.at + len(placed.key)] = zeros.key.encode()
    path = tmp_path / "altered.pte"
    path.write_bytes(altered)
    message = runner.failure("--program", path, "--data", narrow.foundation, "--tokens", "1")
    assert f"{path}: has a matrix of shape [" in message
    assert "in the same program" in message


def test_without_a_weight_cache_nothing_is_mistaken(
    serve: Serve, untrained: tuple[TinyProgram, TinyProgram]
) -> None:
    narrow, wide = untrained
    options = ("--no-weight-cache",)
    with serve(narrow.program, wide.program, data=wide.foundation, options=options) as server:
        for program in untrained:
            assert server.ask(op="load", adapter=program.program.stem)["load_s"] > 0
        assert server.ask(op="unload", adapter="narrow")["op"] == "unload"
        answer = server.ask(adapter="wide", tokens=PROMPT, max_new_tokens=6)
        assert answer["tokens"] == wide.greedy(PROMPT, 6)


def test_equal_bytes_of_one_shape_are_shared(
    serve: Serve, untrained: tuple[TinyProgram, TinyProgram], again: Path
) -> None:
    narrow, _ = untrained
    with serve(narrow.program, again, data=narrow.foundation) as server:
        for name in ("narrow", "again"):
            assert server.ask(op="load", adapter=name)["load_s"] > 0
        assert server.ask(op="unload", adapter="narrow")["op"] == "unload"
        answer = server.ask(adapter="again", tokens=PROMPT, max_new_tokens=6)
        assert answer["tokens"] == narrow.greedy(PROMPT, 6)


def test_packed_weights_that_others_remove_are_not_made_anew(
    serve: Serve, base: TinyProgram
) -> None:
    """Another process makes room while no program is in memory."""
    with serve(base.program, data=base.foundation) as server:
        packed = Path(server.ready["packed_cache"]["path"])
        for path in (packed, packed.with_suffix(".json")):
            path.unlink()
        for _ in range(2):
            answer = server.ask(adapter="base", tokens=PROMPT, max_new_tokens=6)
            assert answer["tokens"] == base.greedy(PROMPT, 6)
            mapped = Path(f"/proc/{server.process.pid}/maps").read_text()
            assert f"{packed} (deleted)" in mapped
            assert server.ask(op="unload", adapter="base")["op"] == "unload"
        assert {path.name for path in packed.parent.iterdir()} == {"lock"}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[TinyProgram]:
    """Three adapters of 27 MB, no two of their matrices alike, over the base of `untrained`."""
    recipe = Recipe(lora=True, rank=768, targets=("down_proj",), layers=1, dim=DIM, hidden_dim=8192)
    with shared_folder(tmp_path_factory, "runner-large") as folder:
        program = tiny_program(build_model(recipe), folder, "template")
        return [
            with_other_matrices(program, folder / f"{name}.pte", seed)
            for seed, name in enumerate(("first", "second", "third"))
        ]


@pytest.mark.parametrize("options", [(), ("--no-packed-cache",), ("--no-weight-cache",)])
def test_another_adapter_adds_its_own_tensors_only(
    serve: Serve, large: list[TinyProgram], options: tuple[str, ...]
) -> None:
    data = large[0].foundation
    tensors = sum(entry.size for entry in read_pte(large[0].program).entries)
    assert tensors > 2 * SMALL, "else holding them twice would not be seen"
    cache = 2 * CONTEXT * DIM // N_HEADS * N_KV_HEADS * 4  # keys and values, fp32
    anonymous = []
    with serve(*(one.program for one in large), data=data, options=options) as server:
        for one in large:
            answer = server.ask(adapter=one.program.stem, tokens=PROMPT, max_new_tokens=3)
            assert answer["tokens"] == one.greedy(PROMPT, 3)
            anonymous.append(server.ask(op="stats")["memory"]["anon"])
    for before, after in itertools.pairwise(anonymous):
        if "--no-weight-cache" in options:
            assert after - before > data.stat().st_size // 2, "else this test could not fail"
        else:
            assert tensors <= after - before <= tensors + cache + SMALL


@pytest.mark.parametrize("options", [(), ("--no-packed-cache",)])
def test_an_unloaded_adapter_leaves_no_memory_behind(
    serve: Serve, large: list[TinyProgram], options: tuple[str, ...]
) -> None:
    """Also below the memory of one that stays, where the allocator would keep it."""
    packed, *others = (one.program.stem for one in large)  # the first is what was packed
    tensors = sum(entry.size for entry in read_pte(large[0].program).entries)
    data = large[0].foundation

    def anonymous(op: str, adapter: str) -> int:
        return int(server.ask(op=op, adapter=adapter)["memory"]["anon"])

    with serve(*(one.program for one in large), data=data, options=options) as server:
        alone = anonymous("load", packed)
        # From here on the allocator takes its heap for pieces of the size that was freed.
        assert anonymous("unload", packed) < SMALL
        loaded = [anonymous("load", name) for name in (*others, packed)][-1]
        assert loaded > alone + 2 * tensors
        unloaded = [anonymous("unload", name) for name in others]
        assert unloaded[0] < loaded - tensors
        assert unloaded[1] < alone + SMALL
