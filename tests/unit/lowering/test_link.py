"""Foundations and programs from the golden template, and everything that is refused."""

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.digest import hash_bytes, hash_file
from ptefoundry.errors import AdapterError, ArtifactError, CheckpointError, VerificationError
from ptefoundry.files import atomic_writer, write_json
from ptefoundry.lowering import link
from ptefoundry.lowering.build import build_adapter, build_foundation
from ptefoundry.lowering.foundation import load_foundation
from ptefoundry.lowering.link import Linker, _expand
from ptefoundry.lowering.padding import is_zeros
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.pte import read_pte
from ptefoundry.lowering.template import load_template, template_name
from support import golden_template as golden
from support.golden_template import TEMPLATES, W2, WQ

ADAPTER = TEMPLATES / "adapter"
FEED = "layers.0.feed_forward"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden.write_base(tmp_path_factory.mktemp("base") / "canonical")


@pytest.fixture(scope="module")
def built(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "foundation"
    build_foundation(base, TEMPLATES, folder)
    return folder


@pytest.fixture
def foundation(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "foundation"))


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ADAPTER, tmp_path / "template"))


def _link(template: Path, foundation: Path, adapter: Path | None, into: Path) -> None:
    canonical = load_adapter(adapter) if adapter else None
    Linker(load_template(template), load_foundation(foundation)).link(canonical, into)


def test_the_base_s_program_finds_all_its_tensors(built: Path) -> None:
    program, foundation = read_pte(built / "base.pte"), read_ptd(built / "foundation.ptd")
    assert program.entries == ()
    assert program.needs == foundation.keys
    assert all(
        entry.digest == entry.key
        for entry in foundation.entries
        if "." not in entry.key and entry.key != "inverse_frequencies"
    )


def test_foundation_holds_the_base_s_bytes(built: Path) -> None:
    contents = {bytes(entry.blob.data) for entry in read_ptd(built / "foundation.ptd").entries}
    tensors = golden.base_tensors()
    assert {data for _dtype, _shape, data in tensors.values()} <= contents
    fixed = list(load_template(TEMPLATES / "base").map.of_kind("fixed"))
    assert len(contents) == len(tensors) + len(fixed)


def test_a_linked_program_holds_the_adapter_s_bytes(built: Path, tmp_path: Path) -> None:
    tensors = golden.adapter_tensors()
    _link(ADAPTER, built, golden.write_adapter(tmp_path / "red", tensors), tmp_path / "red.pte")
    program = read_pte(tmp_path / "red.pte")
    assert {bytes(entry.blob.data) for entry in program.entries} == {
        data for _dtype, _shape, data in tensors.values()
    }
    assert program.needs == read_ptd(built / "foundation.ptd").keys
    placeholders = {slot.key for slot in load_template(ADAPTER).map.slots if slot.kind != "fixed"}
    needed = frozenset().union(*(method.needs for method in program.methods))
    assert not placeholders & needed


@pytest.mark.parametrize("ids", [[2], [0], [7, 0, 7], list(range(8)), [2**31]])
def test_what_ends_an_answer_is_linked(ids: list[int], tmp_path: Path) -> None:
    base = golden.write_base(tmp_path / "base", eos_ids=ids)
    build_foundation(base, TEMPLATES, tmp_path / "built")
    _link(ADAPTER, tmp_path / "built", golden.write_adapter(tmp_path / "red"), tmp_path / "red.pte")
    for path in (tmp_path / "built" / "base.pte", tmp_path / "red.pte"):
        found = read_pte(path).constants["get_eos_ids"]
        assert found == (*ids, *ids[-1:] * (8 - len(ids)))


@pytest.mark.parametrize("ids", [list(range(9)), []])
def test_too_many_ends_or_none_are_refused(ids: list[int], tmp_path: Path) -> None:
    base = golden.write_base(tmp_path / "base")
    write_json(base / "tokenizer" / "chat.json", {"eos_token_ids": ids})
    with pytest.raises(CheckpointError, match=rf"eos_token_ids: .* 1 to 8 ids, found {len(ids)};"):
        build_foundation(base, TEMPLATES, tmp_path / "built")
    (base / "tokenizer" / "chat.json").unlink()
    with pytest.raises(CheckpointError, match="expected eos_token_ids"):
        build_foundation(base, TEMPLATES, tmp_path / "built")


def test_a_template_serves_bases_of_any_context(tmp_path: Path, built: Path) -> None:
    base = golden.write_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    write_json(base / "config.json", {**config, "max_context": 99})
    build_foundation(base, TEMPLATES, tmp_path / "built")
    assert (tmp_path / "built" / "base.pte").read_bytes() == (built / "base.pte").read_bytes()


def test_ids_that_are_not_where_the_map_says_are_refused(template: Path, built: Path) -> None:
    golden.edit_map(template, lambda content: content["eos_ids_at"].reverse())
    with pytest.raises(ArtifactError, match="eos_ids_at: expected the placeholders"):
        Linker(load_template(template), load_foundation(built))


def test_the_same_inputs_give_the_same_bytes(built: Path, base: Path, tmp_path: Path) -> None:
    build_foundation(base, TEMPLATES, tmp_path / "again")
    for name in ("foundation.ptd", "foundation.json", "base.pte"):
        assert (tmp_path / "again" / name).read_bytes() == (built / name).read_bytes()


def test_one_linker_serves_many_adapters(built: Path, tmp_path: Path) -> None:
    linker = Linker(load_template(ADAPTER), load_foundation(built))
    for seed in range(3):
        folder = golden.write_adapter(tmp_path / str(seed), golden.adapter_tensors(seed=seed))
        linker.link(load_adapter(folder), tmp_path / f"{seed}.pte")
        _link(ADAPTER, built, folder, tmp_path / "alone.pte")
        assert (tmp_path / f"{seed}.pte").read_bytes() == (tmp_path / "alone.pte").read_bytes()
    assert (tmp_path / "0.pte").read_bytes() != (tmp_path / "1.pte").read_bytes()


def test_an_adapter_s_template_is_found_by_its_signature(built: Path, tmp_path: Path) -> None:
    adapter = golden.write_adapter(tmp_path / "red")
    shutil.copytree(ADAPTER, tmp_path / "templates" / template_name(golden.SIGNATURE))
    build_adapter(adapter, tmp_path / "templates", built, tmp_path / "red.pte")
    _link(ADAPTER, built, adapter, tmp_path / "other.pte")
    assert (tmp_path / "red.pte").read_bytes() == (tmp_path / "other.pte").read_bytes()
    with pytest.raises(ArtifactError, match="expected a template's map"):
        build_adapter(adapter, TEMPLATES, built, tmp_path / "none.pte")


def test_equal_matrices_of_other_shapes_are_refused(built: Path, tmp_path: Path) -> None:
    tensors = golden.adapter_tensors()
    for name in (f"{WQ}.lora_a", f"{WQ}.lora_b"):
        dtype, shape, data = tensors[name]
        tensors[name] = dtype, shape, b"\1" * len(data)
    adapter = golden.write_adapter(tmp_path / "red", tensors)
    with pytest.raises(AdapterError, match=r"wq\.lora_b: .*wq\.lora_a, \[8, 16\] instead of"):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")
    assert not (tmp_path / "red.pte").exists()


def test_zeros_of_other_shapes_get_other_keys(built: Path, tmp_path: Path) -> None:
    """In one adapter, and in two that may be in memory together."""
    tensors = golden.adapter_tensors()
    names = (f"{WQ}.lora_a", f"{WQ}.lora_b")
    for name in names:
        dtype, shape, data = tensors[name]
        tensors[name] = dtype, shape, bytes(len(data))
    adapter = golden.write_adapter(tmp_path / "red", tensors)
    _link(ADAPTER, built, adapter, tmp_path / "red.pte")
    sizes = {len(tensors[name][2]) for name in names}
    assert sizes == {512}
    zeros = [e for e in read_pte(tmp_path / "red.pte").entries if is_zeros(bytes(e.blob.data))]
    assert [entry.size for entry in zeros] == [512, 512]
    assert len({entry.key for entry in zeros}) == 2


def test_narrow_floats_become_fp32(tmp_path: Path) -> None:
    tensors = golden.base_tensors()
    numbers = [1.0, -2.5, 0.0, 3.140625, 65504.0, -1e-5, 1.5, 0.25] * 2
    name, norm = "norm.weight", "layers.0.ffn_norm.weight"
    half = struct.pack("<16e", *numbers)
    # bfloat16 is fp32 without its lower half.
    brain = b"".join(struct.pack("<f", number)[2:] for number in numbers)
    tensors[name], tensors[norm] = ("F16", (16,), half), ("BF16", (16,), brain)
    build_foundation(golden.write_base(tmp_path / "base", tensors), TEMPLATES, tmp_path / "built")
    entries = {
        entry.key: entry for entry in read_ptd(tmp_path / "built" / "foundation.ptd").entries
    }
    assert bytes(entries[name].blob.data) == struct.pack("<16f", *struct.unpack("<16e", half))
    widened = b"".join(b"\0\0" + brain[at : at + 2] for at in range(0, 32, 2))
    assert bytes(entries[norm].blob.data) == widened


def test_equal_tensors_of_a_base_are_stored_once(tmp_path: Path) -> None:
    tensors = golden.base_tensors()
    wk, wv = "layers.0.attention.wk", "layers.0.attention.wv"
    for kind in ("weight", "bias"):
        tensors[f"{wv}.{kind}"] = tensors[f"{wk}.{kind}"]
    tensors["norm.weight"] = tensors["layers.0.ffn_norm.weight"]
    build_foundation(golden.write_base(tmp_path / "base", tensors), TEMPLATES, tmp_path / "built")
    plain = load_template(TEMPLATES / "base").map.foundation
    entries = read_ptd(tmp_path / "built" / "foundation.ptd").entries
    # Keys by content fall together, keys by name share their segment.
    assert len(entries) == len(plain) - 2
    segments = {entry.key: entry.segment for entry in entries}
    assert segments["norm.weight"] == segments["layers.0.ffn_norm.weight"]
    adapter = golden.write_adapter(tmp_path / "red")
    _link(ADAPTER, tmp_path / "built", adapter, tmp_path / "red.pte")
    assert read_pte(tmp_path / "red.pte").needs == {entry.key for entry in entries}


def test_equal_linears_of_other_shapes_are_refused(tmp_path: Path) -> None:
    tensors = golden.base_tensors()
    (dtype, _, data), (_, shape, _) = tensors[f"{FEED}.w1.weight"], tensors[f"{FEED}.w2.weight"]
    tensors[f"{FEED}.w2.weight"] = dtype, shape, data
    base = golden.write_base(tmp_path / "base", tensors)
    with pytest.raises(CheckpointError, match=r"w2\.weight: .*those of .*w1\.weight; the runtime"):
        build_foundation(base, TEMPLATES, tmp_path / "built")
    assert not (tmp_path / "built" / "foundation.ptd").exists()


def test_a_matrix_that_equals_a_base_tensor_is_refused(built: Path, tmp_path: Path) -> None:
    tensors = golden.adapter_tensors()
    tensors[f"{WQ}.lora_a"] = golden.base_tensors()["layers.0.attention.wk.weight"]
    adapter = golden.write_adapter(tmp_path / "red", tensors)
    with pytest.raises(AdapterError, match=r"wq\.lora_a: .*layers\.0\.attention\.wk\.weight"):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")
    assert not (tmp_path / "red.pte").exists()


Tensors = golden.Tensors


def _without(tensors: Tensors) -> None:
    del tensors[f"{W2}.lora_b"]


def _with_another(tensors: Tensors) -> None:
    tensors["layers.0.attention.wk.lora_a"] = golden.random_tensor((8, 16), "")


def _with_another_shape(tensors: Tensors) -> None:
    tensors[f"{W2}.lora_a"] = golden.random_tensor((24, 2), "")


def _with_another_type(tensors: Tensors) -> None:
    tensors[f"{W2}.lora_a"] = "F16", (2, 24), bytes(96)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, rf"{W2}\.lora_b: expected .*found None"),
        (_with_another, r"wk\.lora_a: expected None"),
        (_with_another_shape, rf"{W2}\.lora_a: expected .*\(2, 24\).*found .*\(24, 2\)"),
        (_with_another_type, rf"{W2}\.lora_a: expected .*F32.*found .*F16"),
    ],
)
def test_adapters_that_do_not_fit_are_refused(
    built: Path, tmp_path: Path, change: Callable[[Tensors], None], message: str
) -> None:
    tensors = golden.adapter_tensors()
    change(tensors)
    adapter = golden.write_adapter(tmp_path / "red", tensors)
    with pytest.raises(AdapterError, match=message):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")
    assert not list(tmp_path.glob("*.pte"))


@pytest.mark.parametrize("size", [0, 4, 8, 60, 300, -1, -1000])
def test_cut_adapters_are_refused(built: Path, tmp_path: Path, size: int) -> None:
    adapter = golden.write_adapter(tmp_path / "red")
    path = adapter / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(AdapterError, match=r"adapter\.safetensors: sha256: expected"):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")
    golden.seal_adapter(adapter, golden.SIGNATURE)
    with pytest.raises(AdapterError, match=r"adapter\.safetensors: expected a complete"):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")


@pytest.mark.parametrize("bit", [0, 6])
@pytest.mark.parametrize("at", [9, -1])
def test_a_flipped_bit_of_an_adapter_is_refused(
    built: Path, tmp_path: Path, at: int, bit: int
) -> None:
    """In the header and in a number, which the highest bit of its exponent makes huge or NaN."""
    adapter = golden.write_adapter(tmp_path / "red")
    path = adapter / "adapter.safetensors"
    data, said = bytearray(path.read_bytes()), hash_file(path)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(
        AdapterError,
        match=rf"adapter\.safetensors: sha256: expected {said} as in adapter\.sha256, found "
        rf"{hash_bytes(data)}; the file is altered or cut, convert the adapter again",
    ):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")
    assert not list(tmp_path.glob("*.pte"))


def test_an_adapter_without_a_digest_is_refused(built: Path, tmp_path: Path) -> None:
    adapter = golden.write_adapter(tmp_path / "red")
    (adapter / "adapter.sha256").unlink()
    with pytest.raises(AdapterError, match=r"their digest in adapter\.sha256, found no such files"):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")
    info = json.loads((adapter / "adapter.json").read_text())
    write_json(adapter / "adapter.json", {**info, "format_version": 1})
    with pytest.raises(AdapterError, match="format_version: expected 2, found 1; convert the"):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")


def test_a_missing_adapter_is_refused(built: Path, tmp_path: Path) -> None:
    adapter = golden.write_adapter(tmp_path / "red")
    (adapter / "adapter.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"found no such files .*adapter\.safetensors"):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")


@pytest.mark.parametrize("modules", [{WQ: 8}, {WQ: 4, W2: 2}, {**golden.SIGNATURE, "x": 1}])
def test_another_signature_is_refused(built: Path, tmp_path: Path, modules: dict[str, int]) -> None:
    adapter = golden.write_adapter(tmp_path / "red", modules=modules)
    with pytest.raises(AdapterError, match="the template of its own signature"):
        _link(ADAPTER, built, adapter, tmp_path / "red.pte")
    with pytest.raises(AdapterError, match="the template of its own signature"):
        _link(TEMPLATES / "base", built, adapter, tmp_path / "red.pte")
    with pytest.raises(AdapterError, match=r"no adapter: .*expected rank"):
        _link(ADAPTER, built, None, tmp_path / "red.pte")


def _slot(content: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(slot for slot in content["slots"] if slot["kind"] == kind and slot["places"])


def _move_place(content: dict[str, Any]) -> None:
    _slot(content, "base")["places"][0] += 4


def _place_outside(content: dict[str, Any]) -> None:
    _slot(content, "adapter")["places"][0] = 1 << 40


def _swap_keys(content: dict[str, Any]) -> None:
    one, other = (slot for slot in content["slots"] if slot["name"].startswith(f"{WQ}.lora"))
    one["key"], other["key"] = other["key"], one["key"]


def _swap_sources(content: dict[str, Any]) -> None:
    one, other = _twins(content)
    one["source"], other["source"] = other["source"], one["source"]


def _swap_names(content: dict[str, Any]) -> None:
    one, other = _twins(content)
    for field in ("name", "source"):
        one[field], other[field] = other[field], one[field]


def _swap_all_but_names(content: dict[str, Any]) -> None:
    one, other = _twins(content)
    for field in ("key", "places", "data_at"):
        one[field], other[field] = other[field], one[field]


def _twins(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Slots of an adapter that have one shape; here two of as many elements are made so."""
    one, other = (slot for slot in content["slots"] if slot["name"].startswith(f"{WQ}.lora"))
    other["shape"] = one["shape"]
    return one, other


def _swap_base_sources(content: dict[str, Any]) -> None:
    _swap(content, "wk.weight", "wv.weight", "source")


def _swap_base(one: str, other: str) -> Callable[[dict[str, Any]], None]:
    """Let two tensors of the base trade all but their names."""
    return lambda content: _swap(content, one, other, "key", "places")


def _swap(content: dict[str, Any], one: str, other: str, *fields: str) -> None:
    first, second = (
        next(slot for slot in content["slots"] if slot["name"].endswith(name))
        for name in (one, other)
    )
    for field in fields:
        first[field], second[field] = second[field], first[field]


def _swap_norms(content: dict[str, Any]) -> None:
    one, other = (
        next(entry for entry in content["foundation"] if entry["slot"].endswith(name))
        for name in ("attention_norm.weight", "ffn_norm.weight")
    )
    one["slot"], other["slot"] = other["slot"], one["slot"]


def _drop_base_slot(content: dict[str, Any]) -> None:
    slot = _slot(content, "base")
    content["slots"].remove(slot)
    content["foundation"] = [one for one in content["foundation"] if one["slot"] != slot["name"]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_move_place, "expected its placeholder's key at byte"),
        (_place_outside, "expected its placeholder's key at byte"),
        (_swap_keys, "expected its placeholder's key at byte"),
        (_swap_sources, "slots: expected those of its signature in their order"),
        (_swap_names, "slots: expected those of its signature in their order"),
        (_swap_all_but_names, "lora_a: expected the key of placeholder"),
        (_swap_base_sources, "wk.weight: expected the tensor of its name"),
        (
            _swap_base("wk.weight", "wv.weight"),
            r"slots: expected .*wk\.weight where the model computes with it, found .*wv\.weight;",
        ),
        (_swap_base("wk.bias", "wv.bias"), r"expected .*wk\.bias where .* found .*wv\.bias"),
        (
            _swap_base("wq.weight", "wo.weight"),
            r"expected .*wq\.weight where .* found .*wo\.weight",
        ),
        (
            _swap_base("w1.weight", "w3.weight"),
            r"expected .*w1\.weight where .* found .*w3\.weight",
        ),
        (
            _swap_norms,
            r"foundation: expected .*\.ffn_norm\.weight under its name, found .*attention_norm",
        ),
        (_drop_base_slot, "expected None bytes"),
    ],
)
def test_maps_that_do_not_fit_their_program_are_refused(
    template: Path,
    built: Path,
    tmp_path: Path,
    edit: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    golden.edit_map(template, edit)
    adapter = golden.write_adapter(tmp_path / "red")
    with pytest.raises(ArtifactError, match=message):
        _link(template, built, adapter, tmp_path / "red.pte")
    assert not list(tmp_path.glob("*.pte"))


@pytest.mark.parametrize("what", ["adapter's, asked for", "adapter's, stored", "base's"])
def test_what_the_map_leaves_out_is_found_in_the_result(
    template: Path, built: Path, tmp_path: Path, what: str
) -> None:
    """There a placeholder's key is left, which nothing has, or which its bytes do not fit."""
    dropped = _drop_place(template, what)
    adapter = golden.write_adapter(tmp_path / "red")
    # The program has what it asks for under another key, or the other way round.
    message = f"needs 1 tensors that .*foundation.ptd does not have .{dropped or '[0-9a-f]{64}'}."
    with pytest.raises(VerificationError, match=message):
        _link(template, built, adapter, tmp_path / "red.pte")
    assert not list(tmp_path.glob("*.pte"))


def _drop_place(template: Path, what: str) -> str | None:
    """Leave one place out; returns the placeholder's key that the program then asks for."""
    compiled = load_template(template)
    path = template / "program.pte"
    path.write_bytes(_expand(compiled))
    entries = {entry.placed_key.at for entry in read_pte(path).entries}
    key = None

    def drop(content: dict[str, Any]) -> None:
        nonlocal key
        slot = _slot(content, "base" if what == "base's" else "adapter")
        at = next(at for at in slot["places"] if (at in entries) == (what == "adapter's, stored"))
        slot["places"].remove(at)
        key = None if at in entries else slot["key"]

    golden.edit_map(template, drop)
    return key


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _flip_first(path: Path) -> None:
    path.write_bytes(b"\1" + path.read_bytes()[1:])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("damage", [_flip, _flip_first, _cut, _lengthen])
def test_what_a_disk_changes_is_found_in_each_program(
    built: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    count: int,
) -> None:
    """Also in those after a linker's first, which are not parsed."""
    monkeypatch.setattr(link, "_PIECE_BYTES", 1000)
    linker = Linker(load_template(ADAPTER), load_foundation(built))
    adapter = load_adapter(golden.write_adapter(tmp_path / "red"))
    for number in range(count):
        linker.link(adapter, tmp_path / f"{number}.pte")
    with monkeypatch.context() as patch:
        patch.setattr(link, "atomic_writer", _damaging_writer(damage))
        with pytest.raises(VerificationError, match="expected the bytes that were written, found"):
            linker.link(adapter, tmp_path / "red.pte")
    assert len(list(tmp_path.glob("*.pte"))) == count
    linker.link(adapter, tmp_path / "red.pte")


def _damaging_writer(damage: Callable[[Path], None]) -> Callable[..., Any]:
    """As `atomic_writer`, on a disk that does not keep what it is given."""

    @contextmanager
    def writer(path: Path, *, check: Callable[[Path], None]) -> Iterator[BinaryIO]:
        def damage_and_check(temporary: Path) -> None:
            damage(temporary)
            check(temporary)

        with atomic_writer(path, check=damage_and_check) as file:
            yield file

    return writer


def test_another_foundation_of_the_shape_takes_other_keys(tmp_path: Path) -> None:
    other = golden.write_base(tmp_path / "base", golden.base_tensors(seed=1))
    build_foundation(other, TEMPLATES, tmp_path / "other")
    adapter = golden.write_adapter(tmp_path / "red")
    _link(ADAPTER, tmp_path / "other", adapter, tmp_path / "red.pte")
    assert (
        read_pte(tmp_path / "red.pte").needs == read_ptd(tmp_path / "other" / "foundation.ptd").keys
    )


def test_a_swapped_index_is_refused(foundation: Path) -> None:
    path = foundation / "foundation.json"
    document = json.loads(path.read_text())
    named = [
        tensor
        for tensor in document["tensors"]
        if tensor["slot"].endswith(("wk.weight", "wv.weight"))
    ]
    named[0]["sha256"], named[1]["sha256"] = named[1]["sha256"], named[0]["sha256"]
    path.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=r"foundation\.json: tensors: expected the keys"):
        load_foundation(foundation)


INDEX = '{"format_version": 3, "tensors": %s}'


@pytest.mark.parametrize("text", ["", "{}", "[]", INDEX % '[{}], "eos_ids": []', INDEX % "[]"])
def test_another_index_is_refused(foundation: Path, text: str) -> None:
    (foundation / "foundation.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"foundation\.json: expected a foundation's index"):
        load_foundation(foundation)
    (foundation / "foundation.json").write_text('{"format_version": 1, "tensors": []}')
    with pytest.raises(ArtifactError, match="format_version: expected 3, found 1"):
        load_foundation(foundation)


def test_a_cut_foundation_is_refused(foundation: Path) -> None:
    path = foundation / "foundation.ptd"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match=r"foundation\.ptd: expected \d+ bytes"):
        load_foundation(foundation)


def test_another_constant_is_refused(foundation: Path) -> None:
    path = foundation / "foundation.json"
    document = json.loads(path.read_text())
    fixed = next(one for one in document["tensors"] if one["slot"] == "inverse_frequencies")
    fixed["sha256"] = "0" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="inverse_frequencies: expected the constant"):
        _link(TEMPLATES / "base", foundation, None, foundation / "again.pte")


def test_a_base_of_another_architecture_is_refused(tmp_path: Path) -> None:
    base = golden.write_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "rope_theta": 5000.0}))
    with pytest.raises(CheckpointError, match=r"rope_theta: expected 10000\.0 .*found 5000\.0"):
        build_foundation(base, TEMPLATES, tmp_path / "built")
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("change", ["missing", "strange", "shape"])
def test_a_base_with_other_tensors_is_refused(tmp_path: Path, change: str) -> None:
    tensors = golden.base_tensors()
    if change == "missing":
        del tensors["norm.weight"]
    else:
        name = "norm.weight" if change == "shape" else "output.weight"
        tensors[name] = golden.random_tensor((4, 4), "")
    base = golden.write_base(tmp_path / "base", tensors)
    with pytest.raises(CheckpointError, match=r"\.weight: expected shape"):
        build_foundation(base, TEMPLATES, tmp_path / "built")


@pytest.mark.parametrize("size", [4, 100, -1])
def test_a_cut_base_is_refused(tmp_path: Path, size: int) -> None:
    base = golden.write_base(tmp_path / "base")
    path = base / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: expected a complete"):
        build_foundation(base, TEMPLATES, tmp_path / "built")


def test_linking_imports_nothing_slow(tmp_path: Path) -> None:
    """Start-up is most of what a single link costs."""
    import subprocess
    import sys

    script = (
        "import sys; import ptefoundry.stages.link;"
        "slow = ('torch', 'numpy', 'executorch', 'pydantic', 'jinja2', 'ruamel.yaml');"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
