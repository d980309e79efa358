"""Measures llama.cpp through its C interface, as it is by default but for threads and context.

File of its task: `model`, a GGUF file. Run with the Python that has
`llama-cpp-python`; see requirements-llama-cpp.txt. With `--quantize` it writes
GGUF files instead:

    llama_cpp_peer.py --quantize FROM TO TYPE
"""

import ctypes
import sys
import time
from collections.abc import Callable

import llama_cpp
import numpy as np
from peer import Prompt, Run, Task, expect, measure

TYPES = {"F32": llama_cpp.LLAMA_FTYPE_ALL_F32, "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}


def serve(task: Task) -> tuple[Callable[[Prompt], Run], float]:
    """Load the model."""
    start = time.perf_counter()
    llama_cpp.llama_backend_init()
    path = task.files["model"].encode()
    model = llama_cpp.llama_model_load_from_file(path, llama_cpp.llama_model_default_params())
    options = llama_cpp.llama_context_default_params()
    options.n_ctx = task.context
    options.n_threads = options.n_threads_batch = task.threads
    context = llama_cpp.llama_init_from_model(model, options)
    if not context:
        raise SystemExit(f"{path.decode()}: llama.cpp cannot load it")
    vocabulary = llama_cpp.llama_model_get_vocab(model)
    size = llama_cpp.llama_vocab_n_tokens(vocabulary)

    def next_token(tokens: list[int]) -> int:
        # The library splits what is longer than its batch no further, so that is done here.
        step = llama_cpp.llama_n_batch(context)
        for i in range(0, len(tokens), step):
            part = (llama_cpp.llama_token * len(tokens[i : i + step]))(*tokens[i : i + step])
            batch = llama_cpp.llama_batch_get_one(part, len(part))
            expect("status of llama_decode", 0, llama_cpp.llama_decode(context, batch))
        logits = llama_cpp.llama_get_logits_ith(context, -1)
        return int(np.argmax(np.ctypeslib.as_array(logits, shape=(size,))))

    def answer(prompt: Prompt) -> Run:
        tokens = _tokenize(vocabulary, prompt)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        begin = time.perf_counter()
        token = next_token(tokens)
        first = time.perf_counter()
        for _ in range(prompt.new_tokens - 1):
            token = next_token([token])
        end = time.perf_counter()
        return Run(prefill_s=first - begin, first_token_s=first - begin, decode_s=end - first)

    return answer, time.perf_counter() - start


def _tokenize(vocabulary: ctypes.c_void_p, prompt: Prompt) -> list[int]:
    text = prompt.text.encode()
    ids = (llama_cpp.llama_token * (len(text) + 1))()
    count = llama_cpp.llama_tokenize(
        vocabulary, text, len(text), ids, len(ids), False, False
    )  # neither a first token nor special ones
    expect("tokens of the prompt", prompt.tokens, count)
    return list(ids[:count])


def quantize(source: str, target: str, kind: str) -> None:
    """Write a GGUF file's tensors in another type."""
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = TYPES[kind]
    options.allow_requantize = True  # the demo's base is quantized itself
    status = llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(options))
    expect("status of llama_model_quantize", 0, status)


if sys.argv[1] == "--quantize":
    quantize(*sys.argv[2:])
else:
    measure(serve)
