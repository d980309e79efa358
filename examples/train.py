"""Train one example LoRA adapter and write it as PEFT does.

    python examples/train.py nobel --base SmolLM2-135M-Instruct.Q4_1.gguf \
        --out examples/adapters/nobel

Training runs in float32 on the CPU. The same seed, thread count and versions
give the same adapter again. The adapter is saved after every epoch, so an
interrupted run leaves a usable one.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    load_peft_weights,
    set_peft_model_state_dict,
)
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR

from base_model import BASE_MODEL_ID, load_model, load_tokenizer
from packing import (
    EncodedPair,
    PackedRow,
    encode_pair,
    encode_system_message,
    pack,
)
from questions import read_training_pairs


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own optimizer.

    Attributes:
        epochs: How often every pair is shown.
        warmup: How many steps the rate rises from zero.
        first_rate: The learning rate after the warm-up.
        last_rate: The learning rate that it falls to, in a straight line.
    """

    epochs: int
    warmup: int
    first_rate: float
    last_rate: float


@dataclass(frozen=True)
class Recipe:
    """What differs between the adapters.

    Attributes:
        together: How many neighbouring lines of the file share a row. The
            Nobel questions come as twins that differ in the year alone.
        phases: The stretches of training. The Nobel adapter needs a second
            one: a high rate teaches the names, but the year, one digit, is
            lost in its noise and is only learned at a low rate.
    """

    together: int
    phases: tuple[Phase, ...]


RECIPES = {
    "nobel": Recipe(together=2, phases=(Phase(4, 12, 2e-3, 0.0), Phase(2, 12, 5e-4, 5e-4))),
    "executorch": Recipe(together=1, phases=(Phase(5, 14, 2e-3, 0.0),)),
}
ADAPTERS = Path(__file__).parent / "adapters"
RANK = 8
ALPHA = 16
TARGET_MODULES = [
    "down_proj",
    "gate_proj",
    "k_proj",
    "o_proj",
    "q_proj",
    "up_proj",
    "v_proj",
]
GRADIENT_NORM = 1.0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("adapter", choices=sorted(RECIPES))
    parser.add_argument("--base", type=Path, required=True, help="GGUF file")
    parser.add_argument("--out", type=Path, help="default: the adapter folder")
    parser.add_argument("--batch", type=int, default=4, help="pairs a step")
    parser.add_argument("--phase", type=int, default=1, help="start here, from the saved adapter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def add_lora(base: torch.nn.Module) -> PeftModel:
    """Wrap all seven linear layers of every block with a LoRA pair.

    Args:
        base: The float32 base model; its own weights stay frozen.

    Returns:
        The model to train.
    """
    config = LoraConfig(
        r=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        target_modules=TARGET_MODULES,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, config)
    # PEFT would record the local folder that the base was loaded from.
    model.peft_config["default"].base_model_name_or_path = BASE_MODEL_ID
    return model


def shuffled_rows(
    system: list[int], pairs: list[EncodedPair], together: int, batch: int, seed: int
) -> Iterator[PackedRow]:
    """Yield the packed rows of one epoch, in an order fixed by the seed.

    Args:
        system: The ids of the system message.
        pairs: All training examples, in the order of the file.
        together: How many neighbours stay side by side; it divides `batch`.
        batch: How many examples a row holds.
        seed: Fixes the order.

    Yields:
        One row for each training step.
    """
    groups = [pairs[start : start + together] for start in range(0, len(pairs), together)]
    shuffled = random.Random(seed).sample(groups, len(groups))
    order = [pair for group in shuffled for pair in group]
    for start in range(0, len(order), batch):
        yield pack(system, order[start : start + batch])


def answer_loss(model: PeftModel, row: PackedRow) -> torch.Tensor:
    """Compute the mean loss over the answer tokens of one row.

    Only the positions that predict an answer token reach the output layer,
    which is a fifth of this model's weights.
    """
    causal_lm = model.get_base_model()
    hidden = causal_lm.model(
        input_ids=row.input_ids,
        position_ids=row.position_ids,
        attention_mask=row.attention_mask,
        use_cache=False,
    ).last_hidden_state
    logits = causal_lm.lm_head(hidden[0, row.predicting])
    return cross_entropy(logits, row.targets)


def rate_schedule(optimizer: torch.optim.Optimizer, phase: Phase, steps: int) -> LambdaLR:
    """Warm up to the phase's first rate, then fall to its last one.

    Args:
        optimizer: The optimizer, at the phase's first rate.
        phase: The stretch of training.
        steps: How many steps it takes.

    Returns:
        The schedule to advance after every step.
    """
    floor = phase.last_rate / phase.first_rate

    def share_of_first_rate(step: int) -> float:
        if step < phase.warmup:
            return step / phase.warmup
        left = (steps - step) / (steps - phase.warmup)
        return floor + (1 - floor) * left

    return LambdaLR(optimizer, share_of_first_rate)


def train(
    model: PeftModel,
    phase: Phase,
    together: int,
    system: list[int],
    pairs: list[EncodedPair],
    arguments: argparse.Namespace,
) -> None:
    """Fit the adapter to the pairs for one phase, saving it every epoch.

    Args:
        model: The model with its LoRA layers.
        phase: How long and how fast to train.
        together: How many neighbouring pairs stay side by side.
        system: The ids of the system message.
        pairs: All training examples.
        arguments: The parsed command line.
    """
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=phase.first_rate, weight_decay=0.0)
    steps = phase.epochs * -(-len(pairs) // arguments.batch)
    schedule = rate_schedule(optimizer, phase, steps)
    model.train()
    step = 0
    for epoch in range(phase.epochs):
        seed = arguments.seed + epoch
        for row in shuffled_rows(system, pairs, together, arguments.batch, seed):
            started = time.monotonic()
            loss = answer_loss(model, row)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            seconds = time.monotonic() - started
            print(
                f"step {step}/{steps} loss {loss.item():.4f} {seconds:.1f} s",
                flush=True,
            )
        save(model, arguments.out)


def save(model: PeftModel, out: Path) -> None:
    """Write the adapter in bfloat16, with a config that is always the same.

    Args:
        model: The trained model.
        out: The folder to write to.
    """
    lora = {
        name: tensor.to(torch.bfloat16)
        for name, tensor in model.state_dict().items()
        if "lora_" in name
    }
    model.save_pretrained(out, state_dict=lora, save_embedding_layers=False)
    (out / "README.md").unlink(missing_ok=True)
    config_file = out / "adapter_config.json"
    config = json.loads(config_file.read_text())
    config["target_modules"] = sorted(config["target_modules"])
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Train the adapter that the command line names."""
    arguments = parse_arguments()
    folder = ADAPTERS / arguments.adapter
    arguments.out = arguments.out or folder
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    tokenizer = load_tokenizer(arguments.base)
    pairs = [encode_pair(tokenizer, pair) for pair in read_training_pairs(folder)]
    system = encode_system_message(tokenizer)
    model = add_lora(load_model(arguments.base))
    recipe = RECIPES[arguments.adapter]
    for number, phase in enumerate(recipe.phases, start=1):
        if number < arguments.phase:
            continue
        if number > 1:  # from the file, as a run that starts here would
            set_peft_model_state_dict(model, load_peft_weights(arguments.out))
        train(model, phase, recipe.together, system, pairs, arguments)


if __name__ == "__main__":
    main()
