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

// One element of "programs" in the JSON document.
nlohmann::ordered_json answer_report(const LoadedProgram& program,
                                     const Prompt& prompt,
                                     const Answer& answer);

// The JSON document of a run, as the README lists it.
nlohmann::ordered_json run_report(const Options& options,
                                  std::vector<nlohmann::ordered_json> answers);

}  // namespace ptefoundry
