#include "packed_folder.h"

#include <utime.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "files.h"
#include "packed_bytes.h"
#include "packed_seal.h"

namespace {

using namespace ptefoundry;
namespace fs = std::filesystem;

struct Fixture {
  std::string root = check::temporary_directory();
  PackedFolder folder = PackedFolder::open(root + "/packed").value();
  std::vector<std::string> sources = {write("source", "weights")};

  std::string write(const std::string& name, const std::string& bytes) {
    const std::string path = root + "/" + name;
    CHECK(write_file(path, bytes.data(), bytes.size()).ok());
    return path;
  }

  void add(const std::string& key, size_t data_bytes = 100) {
    const std::string draft = folder.make_draft(key);
    const std::string bytes = packed_bytes(std::string(data_bytes, 'x'),
                                           {{std::string(64, 'a'), 0, 8}});
    CHECK(write_file(draft, bytes.data(), bytes.size()).ok());
    CHECK(folder.seal_draft(draft, key, sources).ok());
  }

  bool has(const std::string& key) const {
    return folder.find(key, sources).has_value();
  }
};

// As if the entry had last been used so many seconds ago.
void age(const Fixture& fixture, const std::string& key, int seconds) {
  const std::string seal = fixture.root + "/packed/" + key + ".json";
  const auto time = fs::last_write_time(seal) - std::chrono::seconds(seconds);
  fs::last_write_time(seal, time);
}

TEST(a_sealed_file_is_found_until_a_byte_changes) {
  Fixture fixture;
  CHECK(!fixture.has("k"));
  fixture.add("k");
  const auto found = fixture.folder.find("k", fixture.sources);
  CHECK(found.has_value());
  CHECK_EQUAL(found->tensors, 1u);
  CHECK_EQUAL(found->bytes, fs::file_size(found->path));
  std::string bytes = read_text_file(found->path).value();
  bytes[20] ^= 1;
  fixture.write("packed/k.packed", bytes);
  CHECK(!fixture.has("k"));
  fixture.write("packed/k.packed", bytes.substr(0, 50));
  CHECK(!fixture.has("k"));
}

TEST(a_file_that_was_copied_or_touched_is_found) {
  Fixture fixture;
  fixture.add("k");
  const std::string path = fixture.folder.packed_path("k");
  fs::copy_file(path, path + "2");
  fs::rename(path + "2", path);
  CHECK(fixture.has("k"));
  utime(path.c_str(), nullptr);
  CHECK(fixture.has("k"));
}

TEST(weights_of_another_source_are_not_found) {
  Fixture fixture;
  fixture.add("k");
  fixture.write("source", "weightz");
  CHECK(!fixture.has("k"));
  fixture.write("source", "weights");  // repaired
  CHECK(fixture.has("k"));
  fs::remove(fixture.sources.front());
  CHECK(!fixture.has("k"));
  CHECK(!fixture.folder.find("k", {}).has_value());
}

TEST(a_damaged_or_missing_seal_seals_nothing) {
  Fixture fixture;
  for (const char* seal : {"", "{", "[]", "{\"format_version\": 2}",
                           "{\"format_version\": 1, \"packed\": 3}"}) {
    fixture.add("k");
    CHECK(fixture.has("k"));
    fixture.write("packed/k.json", seal);
    CHECK(!fixture.has("k"));
  }
  fixture.add("k");
  fs::remove(fixture.root + "/packed/k.json");
  CHECK(!fixture.has("k"));
}

TEST(a_draft_that_is_not_whole_is_not_sealed) {
  Fixture fixture;
  const std::string draft = fixture.folder.make_draft("k");
  CHECK(write_file(draft, "half", 4).ok());
  const Status sealed = fixture.folder.seal_draft(draft, "k", fixture.sources);
  CHECK(!sealed.ok());
  CHECK_CONTAINS(sealed.failure().message, draft);
  CHECK(!fixture.has("k"));
  fixture.folder.make_draft("other");
  CHECK(!fs::exists(draft));
}

TEST(that_there_is_nothing_to_keep_is_remembered) {
  Fixture fixture;
  CHECK(fixture.folder.seal_nothing("k", fixture.sources).ok());
  const auto found = fixture.folder.find("k", fixture.sources);
  CHECK(found.has_value() && found->tensors == 0 && found->bytes == 0);
}

TEST(the_least_recently_used_go_first) {
  Fixture fixture;
  for (const char* key : {"a", "b", "c"}) {
    fixture.add(key, 1000);
  }
  age(fixture, "a", 100);
  age(fixture, "b", 300);
  age(fixture, "c", 200);
  CHECK(fixture.has("a"));  // used now
  const uint64_t size = fs::file_size(fixture.folder.packed_path("a"));
  fixture.folder.make_room(0, 3 * size);
  CHECK(fs::exists(fixture.folder.packed_path("b")));
  fixture.folder.make_room(0, 3 * size - 1);
  CHECK(!fs::exists(fixture.folder.packed_path("b")));
  fixture.folder.make_room(size, 2 * size);
  CHECK(!fs::exists(fixture.folder.packed_path("c")));
  CHECK(fixture.has("a"));
  fixture.folder.make_room(0, 0);
  CHECK(!fixture.has("a"));
}

TEST(who_comes_second_waits_and_says_so) {
  Fixture fixture;
  std::promise<std::string> note;
  std::atomic<bool> released = false;
  std::thread second;
  {
    const auto first = fixture.folder.lock([](const std::string&) {});
    CHECK(first.ok());
    second = std::thread([&] {
      const auto lock = fixture.folder.lock(
          [&](const std::string& text) { note.set_value(text); });
      CHECK(lock.ok() && released);
    });
    CHECK_CONTAINS(note.get_future().get(), "waiting for another process");
    released = true;
  }
  second.join();
}

}  // namespace
