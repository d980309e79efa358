"""`ptefoundry run --backend coreml`, with methods that are lowered to no backend."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from ptefoundry.cli.main import app
from ptefoundry.coreml.params import CoremlParams
from ptefoundry.digest import hash_file
from ptefoundry.errors import ConfigError, MissingToolError
from ptefoundry.model.parity import encode_prompt
from ptefoundry.model.reference import greedy, load_reference
from support.adapter_parity import convert, make_base
from support.static_programs import write_portable_program
from support.tiny_models import save_tiny_adapter

PROMPTS = ("one two", "three")
COUNT = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A base, an adapter as fetched, and a bundle whose one program has both."""
    import peft  # noqa: F401  urllib3 opens a socket on import, which some tests forbid

    folder = tmp_path_factory.mktemp("bundle")
    base = make_base(folder)
    save_tiny_adapter(base.source, folder / "red", seed=1, lora_alpha=16)
    bundle = folder / "bundle"
    shutil.copytree(base.canonical / "tokenizer", bundle / "tokenizer")
    (bundle / "coreml").mkdir()
    program = bundle / "coreml" / "program.pte"
    params = CoremlParams(context_length=64, input_length=4, dtype="fp32", split_size=None)
    adapters = {"red": convert(base, folder / "red")}
    write_portable_program(base.canonical, adapters, params, program)
    write_manifest(bundle)
    return base, folder / "red", bundle


def write_manifest(bundle):
    paths = sorted(path for path in bundle.rglob("*") if path.is_file())
    variants = [
        {
            "backend": "coreml",
            "adapter": adapter,
            "program": "coreml/program.pte",
            "data": [],
            "method": method,
        }
        for adapter, method in (("base", "forward"), ("red", "red_forward"))
    ]
    manifest = {
        "format_version": 1,
        "name": "tiny",
        "base": {"name": "tiny", "source": "file:base"},
        "adapters": {"red": {"source": "file:red"}},
        "backends": {"coreml": {}},
        "files": [
            {
                "path": path.relative_to(bundle).as_posix(),
                "size": path.stat().st_size,
                "sha256": hash_file(path),
            }
            for path in paths
        ],
        "variants": variants,
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def run(bundle, *options):
    result = CliRunner().invoke(
        app, ["run", str(bundle), "--backend", "coreml", *options], catch_exceptions=False
    )
    assert result.exit_code == 0
    return result.stdout


def expected_tokens(base, adapter):
    chat = json.loads((base.canonical / "tokenizer" / "chat.json").read_text())
    prompts = [encode_prompt(base.canonical / "tokenizer", chat, prompt) for prompt in PROMPTS]
    model = load_reference(base.source, adapter, base.canonical)
    return greedy(model, prompts, COUNT, chat["eos_token_ids"])


def test_each_adapter_answers_as_peft(made):
    base, red, bundle = made
    options = [word for prompt in PROMPTS for word in ("--prompt", prompt)]
    found = json.loads(
        run(
            *(bundle, *options, "--adapter", "red", "--adapter", "base"),
            *("--max-new-tokens", str(COUNT), "--json"),
        )
    )
    assert [(answer["adapter"], answer["prompt"]) for answer in found] == [
        (adapter, prompt) for adapter in ("red", "base") for prompt in PROMPTS
    ]
    tokens = [answer["tokens"] for answer in found]
    assert tokens == expected_tokens(base, red) + expected_tokens(base, None)
    assert tokens[:2] != tokens[2:]


def test_text_is_shown_and_an_answer_ends_with_the_context(made):
    text = run(made[2], "--prompt", PROMPTS[1])
    assert text.startswith(f"=== base: {PROMPTS[1]}\n")
    assert "tok/s" in text


@pytest.mark.parametrize(
    "options", [(), ("--serve-stdio",), ("--prompt", "one", "--temperature", "0.5")]
)
def test_what_only_the_runner_does_is_refused(made, options):
    with pytest.raises(ConfigError, match=r"expected (one, as Core ML|it with --backend xnnpack)"):
        run(made[2], *options)


def test_a_prompt_beyond_the_context_is_refused(made):
    with pytest.raises(ConfigError, match="expected less than the context of 64 tokens, found"):
        run(made[2], "--prompt", "one " * 80)


def test_where_core_ml_is_missing_is_said(made, monkeypatch):
    from executorch.runtime import Runtime

    from ptefoundry.coreml.answering import runtime_call
    from ptefoundry.lowering.pte import Delegate, Method, Program

    delegate = Delegate("CoreMLBackend", memoryview(b""), ())
    method = Method("forward", (), (), (delegate,), (), 0)
    program = Program(made[2] / "coreml" / "program.pte", 0, (method,), ())
    if Runtime.get().backend_registry.is_available("CoreMLBackend"):
        pytest.skip("Core ML is here")
    with pytest.raises(MissingToolError, match=r"expected ExecuTorch's CoreMLBackend.*on a Mac"):
        runtime_call(program)
