#include "attention_ops.h"

#include <executorch/extension/kernel_util/make_boxed_from_unboxed_functor.h>
#include <executorch/runtime/kernel/kernel_includes.h>

#include <cmath>
#include <cstring>
#include <optional>

#include "attention.h"

namespace ptefoundry {
namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::KernelRuntimeContext;

constexpr char kCustomSdpa[] = "llama::custom_sdpa.out";
constexpr char kUpdateCache[] = "llama::update_cache.out";

bool is_dense_float(const Tensor& tensor, int64_t dims) {
  return tensor.scalar_type() == ScalarType::Float && tensor.dim() == dims &&
         executorch::runtime::tensor_is_default_dim_order(tensor);
}

bool fits(const Tensor& query, const Tensor& key, const Tensor& value) {
  return key.size(0) == query.size(0) && key.size(3) == query.size(3) &&
         key.size(2) > 0 && query.size(2) % key.size(2) == 0 &&
         key.sizes() == value.sizes();
}

bool mask_fits(const std::optional<Tensor>& mask, const Tensor& query,
               const Tensor& key, bool is_causal) {
  return !mask.has_value() ||
         (!is_causal && is_dense_float(*mask, 2) &&
          mask->size(0) == query.size(1) && mask->size(1) == key.size(1));
}

Tensor& custom_sdpa_out(KernelRuntimeContext& context, const Tensor& query,
                        const Tensor& key, const Tensor& value,
                        int64_t start_pos, const std::optional<Tensor>& mask,
                        double, bool is_causal, std::optional<double> scale,
                        Tensor& out) {
  ET_KERNEL_CHECK_MSG(
      context,
      is_dense_float(query, 4) && is_dense_float(key, 4) &&
          is_dense_float(value, 4) && is_dense_float(out, 4),
      InvalidArgument, out,
      "custom_sdpa takes contiguous fp32 tensors of 4 dimensions");
  ET_KERNEL_CHECK_MSG(context, fits(query, key, value), InvalidArgument, out,
                      "custom_sdpa: query, key and value do not fit");
  ET_KERNEL_CHECK_MSG(
      context, mask_fits(mask, query, key, is_causal), InvalidArgument, out,
      "custom_sdpa takes an fp32 mask [queries, keys] and then no is_causal");
  const int64_t keys =
      mask.has_value() ? key.size(1) : start_pos + query.size(1);
  ET_KERNEL_CHECK_MSG(context, start_pos >= 0 && keys <= key.size(1),
                      InvalidArgument, out,
                      "custom_sdpa: the cache ends before the queries");
  ET_KERNEL_CHECK_MSG(
      context,
      executorch::runtime::resize_tensor(out, query.sizes()) == Error::Ok,
      InvalidArgument, out, "custom_sdpa: out cannot take the query's shape");

  const float default_scale =
      1.0f / std::sqrt(static_cast<float>(query.size(3)));
  const Attention attention = {
      query.const_data_ptr<float>(),
      key.const_data_ptr<float>(),
      value.const_data_ptr<float>(),
      mask.has_value() ? mask->const_data_ptr<float>() : nullptr,
      out.mutable_data_ptr<float>(),
      query.size(0),
      query.size(1),
      query.size(2),
      key.size(2),
      query.size(3),
      key.size(1),
      keys,
      start_pos,
      is_causal,
      scale.has_value() ? static_cast<float>(*scale) : default_scale};
  ET_KERNEL_CHECK_MSG(context, run_attention(attention), Internal, out,
                      "custom_sdpa: the thread pool refused the work");
  return out;
}

Tensor& update_cache_out(KernelRuntimeContext& context, const Tensor& value,
                         Tensor& cache, int64_t start_pos, Tensor& out) {
  ET_KERNEL_CHECK_MSG(
      context,
      value.dim() == 4 && cache.dim() == 4 &&
          value.scalar_type() == cache.scalar_type() &&
          value.size(0) == cache.size(0) && value.size(2) == cache.size(2) &&
          value.size(3) == cache.size(3) &&
          executorch::runtime::tensor_is_default_dim_order(value) &&
          executorch::runtime::tensor_is_default_dim_order(cache),
      InvalidArgument, out, "update_cache: value and cache do not fit");
  ET_KERNEL_CHECK_MSG(
      context, start_pos >= 0 && start_pos + value.size(1) <= cache.size(1),
      InvalidArgument, out, "update_cache: the cache ends before the values");

  const size_t row_bytes = value.size(2) * value.size(3) * value.element_size();
  const size_t value_bytes = value.size(1) * row_bytes;
  const auto* source = static_cast<const char*>(value.const_data_ptr());
  auto* target = static_cast<char*>(cache.mutable_data_ptr());
  for (int64_t batch = 0; batch < value.size(0); ++batch) {
    std::memcpy(target + (batch * cache.size(1) + start_pos) * row_bytes,
                source + batch * value_bytes, value_bytes);
  }
  return out;
}

template <typename Kernel>
void register_if_missing(const char* name, Kernel kernel) {
  if (!executorch::runtime::registry_has_op_function(name)) {
    // Panics on failure, which a name that is not there cannot cause.
    static_cast<void>(executorch::runtime::register_kernel(
        executorch::extension::make_boxed_kernel(name, kernel)));
  }
}

}  // namespace

void register_attention_ops() {
  register_if_missing(kCustomSdpa, EXECUTORCH_FN(custom_sdpa_out, kCustomSdpa));
  register_if_missing(kUpdateCache,
                      EXECUTORCH_FN(update_cache_out, kUpdateCache));
}

}  // namespace ptefoundry
