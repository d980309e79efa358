#include "request_queue.h"

#include <future>
#include <istream>
#include <sstream>
#include <string>
#include <utility>

#include "check.h"

namespace {

using namespace ptefoundry;
using nlohmann::json;

// Tells when all of its lines have been read and dealt with.
class SignallingBuffer : public std::stringbuf {
 public:
  explicit SignallingBuffer(const std::string& text) : std::stringbuf(text) {}

  void wait_for_end() { ended_.get_future().wait(); }

 protected:
  int_type underflow() override {
    if (!std::exchange(told_, true)) {
      ended_.set_value();
    }
    return std::stringbuf::underflow();
  }

 private:
  std::promise<void> ended_;
  bool told_ = false;
};

struct Fixture {
  explicit Fixture(const std::string& lines)
      : buffer(lines), in(&buffer), queue(in, {}) {}
  // The reader has to be done with `in`.
  ~Fixture() {
    while (queue.next() != nullptr) {
    }
  }

  json next_id() {
    const auto request = queue.next();
    return request == nullptr ? json("end") : request->line.id;
  }

  SignallingBuffer buffer;
  std::istream in;
  RequestQueue queue;
};

TEST(requests_come_in_order_until_the_end) {
  Fixture fixture("{\"id\": 1, \"op\": \"list\"}\n\n \r\n{\"id\": 2}\n{\"id\"");
  CHECK(fixture.next_id() == json(1));
  const auto second = fixture.queue.next();
  CHECK(second != nullptr && second->line.id == json(2));
  CHECK(second != nullptr && !second->line.request.ok());
  const auto cut = fixture.queue.next();
  CHECK(cut != nullptr && !cut->line.request.ok());
  CHECK(fixture.next_id() == json("end"));
  CHECK(fixture.next_id() == json("end"));
}

TEST(nothing_is_read_after_quit) {
  Fixture fixture(
      "{\"id\": 1, \"op\": \"quit\"}\n{\"id\": 2, \"op\": \"list\"}\n");
  CHECK(fixture.next_id() == json(1));
  CHECK(fixture.next_id() == json("end"));
}

TEST(a_line_that_is_too_long_is_one_error) {
  Fixture fixture(std::string((size_t{16} << 20) + 1, 'x') +
                  "\n{\"id\": 2, \"op\": \"list\"}\n");
  const auto first = fixture.queue.next();
  CHECK(first != nullptr && !first->line.request.ok());
  CHECK_CONTAINS(first->line.request.failure().message, "a line of at most");
  CHECK(fixture.next_id() == json(2));
}

TEST(what_waits_can_be_cancelled) {
  Fixture fixture(
      "{\"id\": 1, \"prompt\": \"a\"}\n{\"id\": 2, \"op\": \"cancel\"}\n"
      "{\"id\": 2, \"prompt\": \"a\"}\n{\"id\": 1, \"op\": \"cancel\"}\n");
  fixture.buffer.wait_for_end();
  const auto first = fixture.queue.next();
  CHECK(first != nullptr && first->line.id == json(1) && first->cancelled);
  // There was no request 2 to cancel, so that this one comes out.
  const auto second = fixture.queue.next();
  CHECK(second != nullptr && second->line.request.value().op == Op::kCancel);
  const auto third = fixture.queue.next();
  CHECK(third != nullptr && third->line.id == json(2) && !third->cancelled);
  CHECK(fixture.next_id() == json("end"));
}

}  // namespace
