"""What goes wrong is said in one line that helps, with an exit status."""

import random
from pathlib import Path

import pytest
import torch
from integration.runner.conftest import Runner
from integration.runner.tiny_programs import CONTEXT, TinyProgram, export_module

WRONG_COMMAND_LINE = 2


def tokens(count: int) -> str:
    return ",".join(["5"] * count)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "copy"


def test_a_missing_file_is_named(runner: Runner, base: TinyProgram, tmp_path: Path) -> None:
    missing = tmp_path / "none.pte"
    message = runner.failure("--program", missing, "--tokens", "1")
    assert f"{missing}: no such file" in message
    message = runner.failure("--program", base.program, "--data", missing, "--tokens", "1")
    assert f"{missing}: no such file" in message
    message = runner.failure("--program", tmp_path, "--tokens", "1")
    assert f"{tmp_path}: not a regular file" in message


def test_a_file_of_another_kind_is_named(runner: Runner, base: TinyProgram, copy: Path) -> None:
    copy.write_text("hello " * 100)
    for program, data in (
        (copy, base.foundation),
        (base.program, copy),
        (base.foundation, base.foundation),
        (base.program, base.program),
    ):
        message = runner.failure("--program", program, "--data", data, "--tokens", "1")
        wrong = program if program != base.program else data
        assert f"{wrong}: not an ExecuTorch " in message


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_refused_before_it_is_mapped(
    runner: Runner, base: TinyProgram, copy: Path, share: float
) -> None:
    for name in ("program", "foundation"):
        whole = getattr(base, name).read_bytes()
        copy.write_bytes(whole[: int(len(whole) * share)])
        files = {"program": base.program, "foundation": base.foundation, name: copy}
        message = runner.failure(
            *("--program", files["program"], "--data", files["foundation"], "--tokens", "1")
        )
        assert str(copy) in message
        assert "truncated or damaged" in message or "too few" in message


def test_a_damaged_program_is_refused(runner: Runner, base: TinyProgram, copy: Path) -> None:
    whole = bytearray(base.program.read_bytes())
    whole[0x40:0x1000] = bytes(range(256))[:0x40] * ((0x1000 - 0x40) // 0x40)
    copy.write_bytes(whole)
    message = runner.failure("--program", copy, "--data", base.foundation, "--tokens", "1")
    assert f"{copy} is damaged" in message


def test_a_damaged_index_of_a_foundation_never_crashes(
    runner: Runner, base: TinyProgram, copy: Path
) -> None:
    whole = base.foundation.read_bytes()
    index_end = int.from_bytes(whole[32:40], "little")
    generator = random.Random(4)
    messages = set()
    for attempt in range(200):
        damaged = bytearray(whole)
        # Offsets and lengths are what a reader could be led astray by.
        at = generator.randrange(0x40, index_end - 3) & ~3
        damaged[at : at + 4] = generator.randbytes(4)
        copy.write_bytes(damaged)
        # Packing reads it in the same way, only slower.
        cache = [] if attempt % 20 == 0 else ["--no-packed-cache"]
        done = runner.run(
            *("--program", base.program, "--data", copy, "--tokens", "1", "--quiet", *cache)
        )
        assert done.returncode in {0, 1}, (at, done.returncode, done.stderr)
        messages.add(done.stderr.partition(f"{copy}: ")[2])
    assert "its index of tensors is damaged; fetch or build it again\n" in messages


def test_a_foundation_of_another_build_is_named(
    runner: Runner, base: TinyProgram, plain: TinyProgram, adapter: TinyProgram
) -> None:
    for program in (base, adapter):
        message = runner.failure(
            *("--program", program.program, "--data", plain.foundation, "--tokens", "1")
        )
        assert f"{program.program} needs tensors that {plain.foundation} does not have" in message
        assert "they come from different builds" in message


@pytest.mark.parametrize("kind", ["packed weight", "plain tensor"])
def test_a_single_missing_tensor_is_noticed(
    runner: Runner, base: TinyProgram, copy: Path, kind: str
) -> None:
    whole = base.foundation.read_bytes()
    program = base.program.read_bytes()
    if kind == "plain tensor":
        key = b"tok_embeddings.weight"
    else:
        # Keys of packed weights are 64 hexadecimal digits and stand in the program too.
        at = next(i for i in range(len(whole)) if whole[i : i + 64].isalnum() and whole[i - 1] == 0)
        key = whole[at : at + 64]
    assert key in whole
    assert key in program
    copy.write_bytes(whole.replace(key, b"x" * len(key)))
    message = runner.failure("--program", base.program, "--data", copy, "--tokens", "1")
    assert f"{base.program} needs tensors that {copy} does not have" in message


def test_a_program_that_needs_a_foundation_asks_for_it(runner: Runner, base: TinyProgram) -> None:
    message = runner.failure("--program", base.program, "--tokens", "1")
    assert f"{base.program} needs tensors from a data file" in message
    assert "--data" in message


def test_a_program_for_another_backend_is_refused(
    runner: Runner, base: TinyProgram, copy: Path
) -> None:
    whole = base.program.read_bytes()
    copy.write_bytes(whole.replace(b"XnnpackBackend", b"AnotherBackend"))
    message = runner.failure("--program", copy, "--data", base.foundation, "--tokens", "1")
    assert f"{copy}: needs the backend AnotherBackend" in message


def test_a_missing_operator_is_named(runner: Runner, base: TinyProgram, copy: Path) -> None:
    whole = base.program.read_bytes()
    copy.write_bytes(whole.replace(b"llama::custom_sdpa", b"llama::unknown_op_"))
    message = runner.failure("--program", copy, "--data", base.foundation, "--tokens", "1")
    assert f"{copy}: cannot load its forward method" in message
    assert "llama::unknown_op_" in message


def test_a_prompt_longer_than_the_context_is_refused(runner: Runner, base: TinyProgram) -> None:
    files = ("--program", base.program, "--data", base.foundation)
    message = runner.failure(*files, "--tokens", tokens(CONTEXT))
    assert f"the prompt has {CONTEXT} tokens" in message
    assert f"({CONTEXT} tokens) has room for a prompt of {CONTEXT - 1}" in message
    assert runner.run(*files, "--tokens", tokens(CONTEXT - 1)).returncode == 0


def test_tokens_of_another_vocabulary_are_refused(runner: Runner, base: TinyProgram) -> None:
    message = runner.failure(
        *("--program", base.program, "--data", base.foundation, "--tokens", "1,512")
    )
    assert "has token 512" in message
    assert "vocabulary of 512" in message


def test_a_failure_leaves_no_half_report(runner: Runner, base: TinyProgram) -> None:
    # The first prompt is answered; `failure` asserts that nothing of it is printed.
    message = runner.failure(
        *("--program", base.program, "--data", base.foundation, "--json"),
        *("--tokens", "1", "--tokens", "1,512"),
    )
    assert "has token 512" in message


def test_text_needs_a_tokenizer(runner: Runner, base: TinyProgram, tmp_path: Path) -> None:
    program = ("--program", base.program, "--prompt", "hi")
    assert "--tokenizer" in runner.failure(*program, status=WRONG_COMMAND_LINE)
    message = runner.failure(*program, "--tokenizer", tmp_path)
    assert f"{tmp_path}/tokenizer.json: no such file" in message
    (tmp_path / "tokenizer.json").write_text("{")
    message = runner.failure(*program, "--tokenizer", tmp_path)
    assert f"{tmp_path}/tokenizer.json: not a tokenizer" in message


def test_a_chat_needs_its_template(
    runner: Runner, base: TinyProgram, tokenizer_folder: Path
) -> None:
    (tokenizer_folder / "chat.json").unlink()
    message = runner.failure(
        *("--program", base.program, "--tokenizer", tokenizer_folder),
        *("--prompt", "hi", "--chat-template"),
    )
    assert f"{tokenizer_folder}/chat.json: no such file" in message


@pytest.mark.parametrize("content", ["{", '{"prompt": "x"}', "[1]", '[{"text": "x"}]'])
def test_a_malformed_prompt_file_is_named(
    runner: Runner, base: TinyProgram, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(content)
    message = runner.failure(
        *("--program", base.program, "--prompt-file", path), status=WRONG_COMMAND_LINE
    )
    assert f"{path}: expected a JSON list" in message


def test_wrong_command_lines_are_refused(runner: Runner, base: TinyProgram) -> None:
    for arguments, part in (
        ([], "--program"),
        (["--frob"], "--frob"),
        (["--program", base.program], "--prompt"),
        (["--program", base.program, "--tokens", "one"], "--tokens"),
        (["--program", base.program, "--tokens", "1", "--temperature", "hot"], "--temperature"),
    ):
        assert part in runner.failure(*arguments, status=WRONG_COMMAND_LINE)


class Doubled(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


class StaticTokens(torch.nn.Module):
    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        return (tokens + input_pos).float()


def test_programs_of_another_shape_are_refused(runner: Runner, tmp_path: Path) -> None:
    ids, position = torch.ones(1, 8, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    for module, inputs, found in (
        (Doubled(), (torch.ones(3),), "1 inputs"),
        (StaticTokens(), (ids.float(), position), "input 0 is not an int64 tensor"),
        (StaticTokens(), (ids[0], position), "tokens of another shape"),
    ):
        path = export_module(module, inputs, tmp_path / "other.pte")
        message = runner.failure("--program", path, "--tokens", "1")
        assert f"{path}: expected forward(tokens int64 [1, n]" in message
        assert found in message
    path = export_module(StaticTokens(), (ids, position), tmp_path / "other.pte")
    assert "get_max_context_len" in runner.failure("--program", path, "--tokens", "1")


def test_output_that_cannot_be_written_is_a_failure(
    runner: Runner, base: TinyProgram, copy: Path
) -> None:
    arguments = ("--program", base.program, "--data", base.foundation, "--tokens", "1", "--json")
    copy.write_text("a file, not a directory")
    message = runner.failure(*arguments, "--logits-out", copy / "logits")
    assert f"{copy / 'logits'}: cannot make this directory" in message
    with Path("/dev/full").open("w") as full:
        done = runner.run(*arguments, stdout=full)
    assert done.returncode == 1
    assert "cannot write to standard output" in done.stderr
