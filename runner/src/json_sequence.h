// Elements of tokenizer.json that are null, one object or a Sequence of them.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

namespace ptefoundry {

// The objects in order, without nesting. `key` names the list of a Sequence.
inline std::vector<nlohmann::json> flatten_sequence(const nlohmann::json& spec,
                                                    const char* key) {
  if (spec.is_null()) {
    return {};
  }
  if (spec.at("type") != "Sequence") {
    return {spec};
  }
  std::vector<nlohmann::json> elements;
  for (const nlohmann::json& element : spec.at(key)) {
    for (nlohmann::json& inner : flatten_sequence(element, key)) {
      elements.push_back(std::move(inner));
    }
  }
  return elements;
}

}  // namespace ptefoundry
