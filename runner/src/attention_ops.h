// The two operators that programs exported with `use_sdpa_with_kv_cache` call
// and that the runtime's kernel libraries do not carry.
#pragma once

namespace ptefoundry {

// Registers, once per process and only where no kernel is known yet:
//
//   llama::custom_sdpa(query, key, value, start_pos, attn_mask, dropout_p,
//                      is_causal, scale) -> [B, S, H, D]
//     query [B, S, H, D], key and value caches [B, C, Hkv, D], all fp32;
//     attn_mask fp32 [S, C] is added to the scores of all C keys, without one
//     the first start_pos + S keys take part.
//   llama::update_cache(value, cache, start_pos) -> unused
//     copies value [B, S, Hkv, D] into cache [B, C, Hkv, D] at start_pos.
void register_attention_ops();

}  // namespace ptefoundry
