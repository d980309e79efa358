"""The decoder-only transformer that is exported, over the canonical form of a base.

It computes what transformers' Llama, Qwen2 and Qwen3 compute (tests compare
logits), written so that almost everything between two attention calls lands in
one XNNPACK partition: fewer partitions make the export, and each decode step,
cheaper. Two formulations serve only that, both exact or nearly so:

- the mean square of RMSNorm is a linear with the weights 1/dim, because
  XNNPACK's delegate takes no mean over the last dimension;
- interleaved rotary swaps neighbours by a linear with a signed permutation
  (each output is one input times 1 or -1, so it is exact).

Angles are computed from the positions in the graph, as transformers does, so
that no table depends on the context length.

Attention and cache are ExecuTorch's `llama::custom_sdpa` and
`llama::update_cache`, which `ptefoundry.model.eager.register_operators` makes
known. Buffers name their device, so that parameters alone can be made on the
meta device and filled from a file. Module names are the canonical tensor names
of `ptefoundry.base.config`.
"""

import torch
from torch import nn
from torch.nn import functional

from ptefoundry.base.config import ModelConfig
from ptefoundry.model.rope import inverse_frequencies


class RmsNorm(nn.Module):
    """Root mean square norm over the last dimension, arXiv:1910.07467."""

    averager: torch.Tensor

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps
        self.register_buffer(
            "averager", torch.full((1, size), 1.0 / size, device="cpu"), persistent=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise x [..., size]; same shape."""
        mean_square = functional.linear(x * x, self.averager)  # [..., 1]
        return x * torch.rsqrt(mean_square + self.eps) * self.weight


class Rotary(nn.Module):
    """Interleaved rotary embedding of [S, heads, head_dim], arXiv:2104.09864."""

    swap: torch.Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        swap = torch.zeros(head_dim, head_dim, device="cpu")
        pairs = torch.arange(0, head_dim, 2, device="cpu")
        swap[pairs, pairs + 1] = -1.0  # out[2i] = -in[2i+1]
        swap[pairs + 1, pairs] = 1.0  # out[2i+1] = in[2i]
        self.register_buffer("swap", swap, persistent=False)

    def forward(self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        """Rotate x [S, heads, head_dim] by cos and sin [S, 1, head_dim]."""
        return x * cos + functional.linear(x, self.swap) * sin


class KeyValueCache(nn.Module):
    """Keys and values of one layer, [1, context, kv_heads, head_dim] each."""

    k_cache: torch.Tensor
    v_cache: torch.Tensor

    def __init__(self, config: ModelConfig, context: int) -> None:
        super().__init__()
        shape = (1, context, config.n_kv_heads, config.head_dim)
        self.register_buffer("k_cache", torch.zeros(shape, device="cpu"), persistent=False)
        self.register_buffer("v_cache", torch.zeros(shape, device="cpu"), persistent=False)

    def update(self, k: torch.Tensor, v: torch.Tensor, start: int) -> None:
        """Store k and v [1, S, kv_heads, head_dim] at positions start to start+S-1."""
        torch.ops.llama.update_cache(k, self.k_cache, start)
        torch.ops.llama.update_cache(v, self.v_cache, start)


class Attention(nn.Module):
    """Causal grouped-query attention with a cache."""

    def __init__(self, config: ModelConfig, context: int) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.n_heads, config.n_kv_heads
        self.head_dim = config.head_dim
        rows, kv_rows = self.heads * self.head_dim, self.kv_heads * self.head_dim
        self.wq = nn.Linear(config.dim, rows, bias=config.qkv_bias)
        self.wk = nn.Linear(config.dim, kv_rows, bias=config.qkv_bias)
        self.wv = nn.Linear(config.dim, kv_rows, bias=config.qkv_bias)
        self.wo = nn.Linear(rows, config.dim, bias=False)
        self.q_norm_fn = _head_norm(config)
        self.k_norm_fn = _head_norm(config)
        self.rotary = Rotary(self.head_dim)
        self.kv_cache = KeyValueCache(config, context)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, start: int
    ) -> torch.Tensor:
        """Attend from x [S, dim] at positions from `start` on; [S, dim]."""
        q = self.wq(x).view(-1, self.heads, self.head_dim)
        k = self.wk(x).view(-1, self.kv_heads, self.head_dim)
        v = self.wv(x).view(-1, self.kv_heads, self.head_dim)
        q = self.rotary(self.q_norm_fn(q), cos, sin)
        k = self.rotary(self.k_norm_fn(k), cos, sin)
        self.kv_cache.update(k.unsqueeze(0), v.unsqueeze(0), start)
        attended = torch.ops.llama.custom_sdpa(
            q.unsqueeze(0), self.kv_cache.k_cache, self.kv_cache.v_cache, start, None, 0.0, True
        )
        output: torch.Tensor = self.wo(attended.view(-1, self.heads * self.head_dim))
        return output


class FeedForward(nn.Module):
    """SwiGLU, arXiv:2002.05202: w2(silu(w1 x) * w3 x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.hidden_dim, bias=False)
        self.w2 = nn.Linear(config.hidden_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.hidden_dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map x [S, dim] to [S, dim]."""
        output: torch.Tensor = self.w2(functional.silu(self.w1(x)) * self.w3(x))
        return output


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: ModelConfig, context: int) -> None:
        super().__init__()
        self.attention_norm = RmsNorm(config.dim, config.norm_eps)
        self.attention = Attention(config, context)
        self.ffn_norm = RmsNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, start: int
    ) -> torch.Tensor:
        """Map x [S, dim] to [S, dim]."""
        x = x + self.attention(self.attention_norm(x), cos, sin, start)
        output: torch.Tensor = x + self.feed_forward(self.ffn_norm(x))
        return output


class Transformer(nn.Module):
    """Next-token logits from token ids, with the past in its caches."""

    inverse_frequencies: torch.Tensor

    def __init__(self, config: ModelConfig, context: int, *, all_logits: bool = False) -> None:
        super().__init__()
        self.context = context
        self.all_logits = all_logits
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config, context) for _ in range(config.n_layers))
        self.norm = RmsNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        frequencies = inverse_frequencies(config).repeat_interleave(2)  # [head_dim]
        self.register_buffer("inverse_frequencies", frequencies, persistent=False)

    def forward(self, tokens: torch.Tensor, input_pos: torch.Tensor) -> torch.Tensor:
        """Read `tokens` at position `input_pos` and those after it.

        Args:
            tokens: int64 [1, S].
            input_pos: int64 [1], position of the first of them; what the caches
                hold before it is the past.

        Returns:
            fp32 logits [1, vocab] after the last token, or [S, vocab] where the
            model was made with `all_logits`.
        """
        length = tokens.shape[1]
        start = input_pos.item()
        torch._check(start >= 0)
        torch._check(start + length <= self.context)
        positions = (torch.arange(length) + input_pos).view(-1, 1, 1)
        angles = positions * self.inverse_frequencies  # [S, 1, head_dim]
        cos, sin = torch.cos(angles), torch.sin(angles)
        x = self.tok_embeddings(tokens.view(-1))
        for layer in self.layers:
            x = layer(x, cos, sin, start)
        if not self.all_logits:
            x = x[-1:]
        logits: torch.Tensor = self.output(self.norm(x))
        return logits


def _head_norm(config: ModelConfig) -> nn.Module:
    return RmsNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
