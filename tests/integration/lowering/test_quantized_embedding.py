"""Embedding tables of integers: in PyTorch, in programs, and in the answers to compare with."""

import json
from pathlib import Path

import pytest
import torch
from integration.lowering.runtime import eager_logits, runtime_logits

from ptefoundry.adapter.canonical import load_adapter
from ptefoundry.adapter.convert import convert_adapter
from ptefoundry.base.convert import convert_base
from ptefoundry.errors import ConfigError
from ptefoundry.lowering.build import build_adapter, build_foundation
from ptefoundry.lowering.full_export import export_in_full
from ptefoundry.lowering.ptd import read_ptd
from ptefoundry.lowering.store import TemplateStore
from ptefoundry.lowering.templates import build_templates, list_recipes
from ptefoundry.model.eager import load_model
from ptefoundry.model.parity import load_answers, make_reference
from ptefoundry.model.quantized import make_quantized_reference
from ptefoundry.params import SmokeParams, XnnpackParams
from ptefoundry.schemes import EmbeddingScheme, Schemes
from support.tiny_models import save_tiny_adapter, save_tiny_base

CALLS = [[5, 17, 9, 200, 31], [7], [300, 2, 44]]
SCHEMES = ("8,0", "4,32")
SMOKE = SmokeParams(prompts=("The quick brown fox", "Ünïcödé 🙂"), tokens=6)


def _params(embedding: str) -> XnnpackParams:
    return XnnpackParams(context_length=48, prefill_length=16, embedding=embedding)


class Canonical:
    """A base and an adapter, fetched and converted."""

    def __init__(self, root: Path) -> None:
        self.base_source, self.adapter_source = root / "base", root / "adapter"
        save_tiny_base(self.base_source)
        save_tiny_adapter(self.base_source, self.adapter_source)
        self.base, self.adapter = root / "canonical", root / "canonical-adapter"
        convert_base(self.base_source, self.base)
        convert_adapter(self.adapter_source, self.base, self.adapter, base_name="")


@pytest.fixture(scope="module")
def canonical(tmp_path_factory: pytest.TempPathFactory) -> Canonical:
    return Canonical(tmp_path_factory.mktemp("quantized"))


@pytest.mark.parametrize("embedding", [*SCHEMES, "4,0", "8,16"])
def test_rows_are_rounded_to_the_nearest_step(canonical: Canonical, embedding: str) -> None:
    scheme = _params(embedding).schemes.embedding
    assert scheme is not None
    plain = load_model(canonical.base, context=8).tok_embeddings
    model = load_model(canonical.base, context=8, schemes=Schemes(embedding=scheme))
    quantized = model.tok_embeddings
    tokens = torch.arange(plain.weight.shape[0])
    groups = plain.weight.unflatten(1, (-1, scheme.group or plain.weight.shape[1]))
    step = groups.abs().amax(-1, keepdim=True) / ((2**scheme.bits - 1) / 2)
    error = (quantized(tokens) - plain(tokens)).view_as(groups).abs()
    assert (error <= step * 0.501).all()
    assert (error > step / 4).any()


@pytest.mark.parametrize("embedding", SCHEMES)
def test_programs_compute_the_quantized_model(
    canonical: Canonical, tmp_path: Path, embedding: str
) -> None:
    params = _params(embedding)
    store = TemplateStore(tmp_path / "store")
    signature = load_adapter(canonical.adapter).modules
    templates, built = tmp_path / "templates", tmp_path / "built"
    build_templates(list_recipes(canonical.base, [signature], params, "test"), [store], templates)
    build_foundation(canonical.base, templates, built)
    build_adapter(canonical.adapter, templates, built, tmp_path / "red.pte")
    red, foundation = tmp_path / "red.pte", built / "foundation.ptd"
    for program, adapter in ((built / "base.pte", None), (red, canonical.adapter)):
        exported = export_in_full(canonical.base, adapter, params)
        exported.write_program(tmp_path / "full.pte")
        exported.write_foundation(tmp_path / "full.ptd")
        assert program.read_bytes() == (tmp_path / "full.pte").read_bytes()
        assert foundation.read_bytes() == (tmp_path / "full.ptd").read_bytes()
        found = runtime_logits(program, foundation, CALLS)
        expected = eager_logits(canonical.base, adapter, params, CALLS)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
        original = eager_logits(canonical.base, adapter, _params("none"), CALLS)
        assert (found - original).abs().max() > 1e-3
    sizes = {entry.key: entry.size for entry in read_ptd(foundation).entries}
    config = json.loads((canonical.base / "config.json").read_text())
    values = config["vocab_size"] * config["dim"]
    assert sizes["tok_embeddings.weight"] == values * int(embedding[0]) // 8


@pytest.mark.parametrize(("bits", "group"), [(8, 48), (4, 128)])
def test_groups_that_do_not_divide_the_rows_are_refused(
    canonical: Canonical, bits: int, group: int
) -> None:
    with pytest.raises(ConfigError, match=f"divide the base's 64 columns, found {bits},{group}"):
        load_model(
            canonical.base,
            context=8,
            schemes=Schemes(embedding=EmbeddingScheme(bits=bits, group=group)),
        )


def test_quantized_answers_stand_beside_their_distance(
    canonical: Canonical, tmp_path: Path
) -> None:
    original, quantized = tmp_path / "original", tmp_path / "quantized"
    make_reference(
        canonical.base_source,
        canonical.base,
        canonical.adapter_source,
        canonical.adapter,
        smoke=SMOKE,
        into=original,
    )
    make_quantized_reference(
        canonical.base,
        canonical.adapter,
        original,
        params=_params("4,32"),
        tokens=SMOKE.tokens,
        into=quantized,
    )
    before, after = load_answers(original), load_answers(quantized)
    assert [answer.prompt_tokens for answer in after.answers] == [
        answer.prompt_tokens for answer in before.answers
    ]
    assert after.conversion_difference == before.conversion_difference
    assert before.quantization is None
    assert after.quantization is not None
    assert after.quantization.logits > 10 * before.conversion_difference
    assert 0 <= after.quantization.equal_tokens <= after.quantization.tokens
    assert after.quantization.tokens == sum(len(answer.tokens) for answer in before.answers)


def test_unquantized_model_answers_as_the_original(canonical: Canonical, tmp_path: Path) -> None:
    original, same = tmp_path / "original", tmp_path / "same"
    make_reference(canonical.base_source, canonical.base, None, None, smoke=SMOKE, into=original)
    make_quantized_reference(
        canonical.base,
        None,
        original,
        params=_params("none"),
        tokens=SMOKE.tokens,
        into=same,
    )
    before, after = load_answers(original), load_answers(same)
    assert after.answers == before.answers
    assert after.quantization is not None
    assert after.quantization.equal_tokens == after.quantization.tokens
    assert after.quantization.logits <= 1e-3
