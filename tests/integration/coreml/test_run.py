"""`ptefoundry run --backend coreml`, with methods that are lowered to no backend."""

import json
import re
import runpy
import shutil
from dataclasses import asdict
from pathlib import Path

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
PARAMS = CoremlParams(context_length=64, input_length=4, dtype="fp32", split_size=None)
DIGESTS = {"base/fetched": "1" * 64, "adapters/fetched/red": "2" * 64}
WORKSPACE = """\
bundle: {name: tiny}
base: {name: tiny, source: 'file:base'}
adapters: {red: {source: 'file:red'}}
backends: {coreml: {context_length: 32, input_length: 8}}
smoke: {prompts: [one two, three], tokens: 6}
"""


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
    adapters = {"red": convert(base, folder / "red")}
    write_portable_program(base.canonical, adapters, PARAMS, program)
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
        "base": {"name": "tiny", "source": "file:base", "digest": DIGESTS["base/fetched"]},
        "adapters": {
            "red": {"source": "file:red", "digest": DIGESTS["adapters/fetched/red"]},
        },
        "backends": {"coreml": {**asdict(PARAMS), "methods": {}}},
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


@pytest.fixture
def workspace(made, tmp_path, monkeypatch):
    """A workspace with what the bundle was built from, which is entered."""
    base, red, _ = made
    (tmp_path / "params.yaml").write_text(WORKSPACE)
    for path, target in (
        ("base/canonical", base.canonical),
        ("adapters/canonical/red", red.with_name("red-canonical")),
    ):
        (tmp_path / "artifacts" / path).parent.mkdir(parents=True)
        (tmp_path / "artifacts" / path).symlink_to(target)
    for path, digest in DIGESTS.items():
        (tmp_path / "artifacts" / path).parent.mkdir(exist_ok=True)
        (tmp_path / "artifacts" / f"{path}.sha256").write_text(f"{digest}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verify(bundle, *options):
    return CliRunner().invoke(
        app, ["verify", "--answers", str(bundle), *options], catch_exceptions=False
    )


def test_a_bundle_is_compared_with_the_workspace_s_model(made, workspace):
    found = verify(made[2], "--compute-units", "cpu_only").stdout.splitlines()
    assert len(found) == 4
    assert found[0].startswith("coreml/base: 'one two': 6 of 6 tokens are the model's likeliest")
    assert found[3].startswith("coreml/red: 'three': ")
    assert len(verify(made[2], "--adapter", "red").stdout.splitlines()) == 2
    with pytest.raises(ConfigError, match="--adapter: expected one of base, red, found 'blue'"):
        verify(made[2], "--adapter", "blue")


def test_a_bundle_of_another_workspace_is_refused(made, workspace):
    digest = workspace / "artifacts" / "adapters" / "fetched" / "red.sha256"
    digest.write_text("3" * 64)
    with pytest.raises(ConfigError, match=r"red is from file:red with digest 2+; .* found 3+;"):
        verify(made[2])


def test_a_workspace_without_the_model_is_told_what_is_missing(made, workspace):
    (workspace / "artifacts" / "adapters" / "canonical" / "red").unlink()
    with pytest.raises(ConfigError, match=r"canonical/red: expected what answers are compared"):
        verify(made[2])


def test_the_example_compares_publishes_pulls_and_answers(made, workspace, monkeypatch, capfd):
    """All that the demo does with its bundle on a Mac, with this one instead of Core ML."""
    for name in ("REGISTRY", "SIGNING_KEY", "TRUST"):
        monkeypatch.setenv(f"PTEFOUNDRY_{name}", "")
    monkeypatch.setenv("PTEFOUNDRY_CACHE", str(workspace / "cache"))
    shutil.copytree(made[2], workspace / "artifacts" / "bundle")
    example = runpy.run_path(str(Path(__file__).parents[3] / "examples" / "coreml.py"))
    example["show"](workspace, adapter="red", prompt="one two", runs=True)
    shown = capfd.readouterr().out
    answers = re.findall(r"=== red: one two\n(.*)\n", shown)
    assert len(answers) == 2
    assert answers[0] == answers[1] != ""
    assert "coreml/red: 'three': 6 of 6 tokens are the model's likeliest" in shown
    assert (workspace / "artifacts" / "phone" / "coreml" / "program.pte").is_file()


def test_where_core_ml_is_missing_is_said(made, monkeypatch):
    from executorch.runtime import Runtime

    from ptefoundry.coreml.answering import runtime_call
    from ptefoundry.lowering.pte import Delegate, Method, Program

    delegate = Delegate("CoreMLBackend", memoryview(b""), ())
    method = Method("forward", (), (), (), (delegate,), (), 0)
    program = Program(made[2] / "coreml" / "program.pte", 0, (method,), ())
    if Runtime.get().backend_registry.is_available("CoreMLBackend"):
        pytest.skip("Core ML is here")
    with pytest.raises(MissingToolError, match=r"expected ExecuTorch's CoreMLBackend.*on a Mac"):
        runtime_call(program)
