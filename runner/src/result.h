// Result<T>: a value, or the one message a person needs to act on a failure.
#pragma once

#include <string>
#include <utility>
#include <variant>

namespace ptefoundry {

// The message names the file or flag, what was expected, what was found and
// what to do about it.
struct Failure {
  std::string message;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}
  Result(Failure failure) : state_(std::move(failure)) {}

  bool ok() const { return std::holds_alternative<T>(state_); }
  const Failure& failure() const { return std::get<Failure>(state_); }

  const T& value() const& { return std::get<T>(state_); }
  T& value() & { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }

 private:
  std::variant<T, Failure> state_;
};

struct Done {};
using Status = Result<Done>;

}  // namespace ptefoundry

#define PTEFOUNDRY_CONCAT_(a, b) a##b
#define PTEFOUNDRY_CONCAT(a, b) PTEFOUNDRY_CONCAT_(a, b)

#define RETURN_IF_FAILED(expression)                   \
  do {                                                 \
    auto status_ = (expression);                       \
    if (!status_.ok()) {                               \
      return ::ptefoundry::Failure(status_.failure()); \
    }                                                  \
  } while (false)

#define ASSIGN_OR_RETURN(declaration, expression)                      \
  ASSIGN_OR_RETURN_(PTEFOUNDRY_CONCAT(result_, __LINE__), declaration, \
                    expression)
#define ASSIGN_OR_RETURN_(result, declaration, expression) \
  auto result = (expression);                              \
  if (!result.ok()) {                                      \
    return ::ptefoundry::Failure(result.failure());        \
  }                                                        \
  declaration = std::move(result).value()
