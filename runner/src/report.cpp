#include "report.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace ptefoundry {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMebibyte = 1024.0 * 1024.0;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value.has_value() ? Json(*value) : Json();
}

std::optional<double> rate(size_t tokens, double seconds) {
  if (tokens == 0 || seconds <= 0) {
    return std::nullopt;
  }
  return static_cast<double>(tokens) / seconds;
}

// The first token comes out of the prefill, so it is not decoded.
std::optional<double> decode_rate(const Generation& generation) {
  const size_t count = generation.tokens.size();
  return rate(count == 0 ? 0 : count - 1, generation.decode_s);
}

std::optional<double> prefill_rate(const Generation& generation) {
  return rate(static_cast<size_t>(generation.prefill_tokens),
              generation.prefill_s);
}

void add_memory(const MemoryUse& use, const std::string& when, Json& report) {
  report["rss_after_" + when] = or_null(use.rss);
  report["anon_after_" + when] = or_null(use.anonymous);
  report["pss_after_" + when] = or_null(use.pss);
}

std::string mebibytes(const std::optional<int64_t>& bytes) {
  if (!bytes.has_value()) {
    return "?";
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%.0f",
                static_cast<double>(*bytes) / kMebibyte);
  return text;
}

std::string describe(const MemoryUse& use) {
  return "RSS " + mebibytes(use.rss) + " MiB (" + mebibytes(use.anonymous) +
         " anonymous)";
}

}  // namespace

std::string version() {
  return "ptefoundry-runner " PTEFOUNDRY_RUNNER_VERSION
         " (ExecuTorch " PTEFOUNDRY_EXECUTORCH_VERSION ")";
}

std::string describe(const LoadedProgram& program) {
  char seconds[32];
  std::snprintf(seconds, sizeof(seconds), "%.2f", program.load_s);
  return program.program->info().name + ": loaded in " + seconds + " s, " +
         describe(program.after_load);
}

std::string describe(const Answer& answer) {
  const Generation& generation = answer.generation;
  char text[256];
  std::snprintf(text, sizeof(text),
                "%lld prompt tokens at %.1f tok/s, first token after %.3f s, "
                "%zu tokens at %.1f tok/s, stopped by %s, ",
                static_cast<long long>(generation.prefill_tokens),
                prefill_rate(generation).value_or(0), generation.first_token_s,
                generation.tokens.size(), decode_rate(generation).value_or(0),
                to_string(generation.finish_reason));
  return text + describe(answer.after_generate);
}

std::string describe(const PackedCache& cache) {
  const std::string what = "packed weights: " + cache.file->path + ", " +
                           mebibytes(cache.file->bytes) + " MiB";
  if (cache.build_s == 0) {
    return what;
  }
  char seconds[32];
  std::snprintf(seconds, sizeof(seconds), "%.2f", cache.build_s);
  return what + ", made in " + seconds + " s for this and later starts";
}

Json packed_cache_report(const PackedCache& cache) {
  if (!cache.file.has_value()) {
    return Json();
  }
  return {{"path", cache.file->path},
          {"bytes", cache.file->bytes},
          {"tensors", cache.file->tensors},
          {"build_s", cache.build_s}};
}

Json memory_report(const MemoryUse& use) {
  return {{"rss", or_null(use.rss)},
          {"anon", or_null(use.anonymous)},
          {"pss", or_null(use.pss)}};
}

Json generation_report(const Generation& generation) {
  const bool has_token = !generation.tokens.empty();
  Json report;
  report["tokens"] = generation.tokens;
  report["finish_reason"] = to_string(generation.finish_reason);
  report["prefill_tokens"] = generation.prefill_tokens;
  report["prefill_s"] = generation.prefill_s;
  report["prefill_tok_s"] = or_null(prefill_rate(generation));
  report["ttft_s"] = has_token ? Json(generation.first_token_s) : Json();
  report["decode_s"] = generation.decode_s;
  report["decode_tok_s"] = or_null(decode_rate(generation));
  return report;
}

Json answer_report(const LoadedProgram& program, const Prompt& prompt,
                   const Answer& answer) {
  Json report;
  report["program"] = program.program->info().path;
  report["name"] = program.program->info().name;
  report["prompt"] = or_null(prompt.text);
  report["prompt_tokens"] = answer.prompt_tokens;
  report["text"] = or_null(answer.text);
  report["load_s"] = program.load_s;
  report.update(generation_report(answer.generation));
  add_memory(program.after_load, "load", report);
  add_memory(answer.after_generate, "generate", report);
  return report;
}

Json run_report(const Options& options, const PackedCache& cache,
                std::vector<Json> answers) {
  Json report;
  report["runner"] = {{"version", PTEFOUNDRY_RUNNER_VERSION},
                      {"executorch", PTEFOUNDRY_EXECUTORCH_VERSION}};
  const auto& data_files = options.data_files;
  report["foundation"] = data_files.empty() ? Json() : Json(data_files.front());
  report["data_files"] = data_files;
  report["packed_cache"] = packed_cache_report(cache);
  report["programs"] = std::move(answers);
  return report;
}

}  // namespace ptefoundry
