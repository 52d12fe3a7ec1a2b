// docs/threat-model.md names the tests that prove it: they are there.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>

#include "tests/support/catch.h"

namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// All sources of tests, with texts that were cut into lines put together.
std::string tests_of(const fs::path& source) {
  std::string all;
  for (const auto& entry : fs::recursive_directory_iterator(source / "tests"))
    if (entry.path().extension() == ".cc") all += read(entry.path());
  return std::regex_replace(all, std::regex("\"\\s*\n\\s*\""), "");
}

}  // namespace

SCENARIO("Every test that the threat model names is there", "[architecture]") {
  const fs::path source = BULKHEAD_SOURCE;
  const std::string model = read(source / "docs/threat-model.md");
  const std::string tests = tests_of(source);
  const std::regex quoted("\"([^\"]+)\"");
  std::size_t names = 0;
  for (std::sregex_iterator name(model.begin(), model.end(), quoted), end; name != end; ++name, ++names) {
    INFO((*name)[1]);
    CHECK(tests.find("\"" + (*name)[1].str()) != std::string::npos);
  }
  CHECK(names > 30);
  const std::regex lists("fuzz: ((?:`[a-z_]+`(?:, )?)+)");
  const std::regex targets("`([a-z_]+)`");
  for (std::sregex_iterator list(model.begin(), model.end(), lists), end; list != end; ++list) {
    const std::string named = (*list)[1];
    for (std::sregex_iterator name(named.begin(), named.end(), targets); name != end; ++name) {
      INFO((*name)[1]);
      CHECK(fs::exists(source / "tests/fuzz/corpus" / (*name)[1].str()));
    }
  }
}
