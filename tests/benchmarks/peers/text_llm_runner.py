"""Measures ExecuTorch's `TextLLMRunner`, through its Python binding, as it is by default.

Files of its task: `program`, `data`, `tokenizer` (a tokenizer.json).
"""

import time
from collections.abc import Callable

# These two register llama::custom_sdpa, llama::update_cache and the embeddings of
# quantized tables, in Python the caller's duty.
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401
from executorch.extension.llm.runner import GenerationConfig, Stats, TextLLMRunner
from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
from executorch.kernels import quantized  # noqa: F401
from peer import Prompt, Run, Task, expect, measure

_MS = 1e-3


def serve(task: Task) -> tuple[Callable[[Prompt], Run], float]:
    """Load the program; it is really loaded by the first prompt, here an extra one."""
    _unsafe_reset_threadpool(task.threads)
    start = time.perf_counter()
    files = task.files
    runner = TextLLMRunner(files["program"], files["tokenizer"], files["data"])

    def answer(prompt: Prompt) -> Run:
        times: list[float] = []
        stats: list[Stats] = []
        config = GenerationConfig(
            echo=False, max_new_tokens=prompt.new_tokens, temperature=0.0, num_bos=0, num_eos=0
        )
        runner.reset()
        begin = time.perf_counter()
        runner.generate(
            prompt.text, config, lambda _: times.append(time.perf_counter()), stats.append
        )
        expect("tokens of the prompt", prompt.tokens, stats[0].num_prompt_tokens)
        expect("new tokens", prompt.new_tokens, len(times))
        return Run(
            # With the milliseconds of tokenizing, whose end it does not note.
            prefill_s=(stats[0].prompt_eval_end_ms - stats[0].inference_start_ms) * _MS,
            first_token_s=times[0] - begin,
            decode_s=times[-1] - times[0],
        )

    first = answer(task.prompts[0])
    return answer, time.perf_counter() - start - first.first_token_s - first.decode_s


measure(serve)
