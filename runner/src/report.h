// What a run has to tell, for people and for programs.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "options.h"
#include "runner.h"

namespace ptefoundry {

// "ptefoundry-runner <version> (ExecuTorch <version>)"
std::string version();

// One line each, without end of line.
std::string describe(const LoadedProgram& program);
std::string describe(const Answer& answer);
std::string describe(const PackedCache& cache);  // that has a file

// The file, its size and how long it took to make; null without one.
nlohmann::ordered_json packed_cache_report(const PackedCache& cache);

// {"rss", "anon", "pss"} in bytes; null where it is not reported.
nlohmann::ordered_json memory_report(const MemoryUse& use);

// Tokens, why they end, and what they took.
nlohmann::ordered_json generation_report(const Generation& generation);

// One element of "programs" in the JSON document.
nlohmann::ordered_json answer_report(const LoadedProgram& program,
                                     const Prompt& prompt,
                                     const Answer& answer);

// The JSON document of a run, as the README lists it.
nlohmann::ordered_json run_report(const Options& options,
                                  const PackedCache& cache,
                                  std::vector<nlohmann::ordered_json> answers);

}  // namespace ptefoundry
