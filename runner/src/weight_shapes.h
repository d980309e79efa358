// Shapes of the weights of a program's linears.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "result.h"

namespace ptefoundry {

// By the name under which XNNPACK's weight cache keeps them, which is the
// sha256 of their bytes: rows and columns.
using WeightShapes = std::map<std::string, std::vector<uint32_t>>;

// Of all linears that XNNPACK computes, read out of the program's file without
// loading it.
Result<WeightShapes> read_weight_shapes(const std::string& path);

// Fails if one of the names has another shape in `others`, which are the
// weights of the program called `name`. The cache, which looks at names alone,
// would give the weights of one to the other, or free them under its feet.
Status check_shapes(const std::string& path, const WeightShapes& shapes,
                    const std::string& name, const WeightShapes& others);

}  // namespace ptefoundry
