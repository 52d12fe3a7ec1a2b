// The dependency rule: each process links its own row of docs/architecture.md, and no more.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/support/catch.h"

namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

const std::vector<std::string> kLayers{"ipc", "sandbox", "backends", "vcpu-host", "monitor", "spawner"};

// Which layers a layer's files may include, itself aside.
const std::map<std::string, std::set<std::string>> kMayInclude{
    {"ipc", {}},
    {"sandbox", {"ipc"}},  // UniqueFd and Error, nothing that crosses a boundary
    {"backends", {"ipc", "sandbox"}},
    {"vcpu-host", {"ipc", "sandbox"}},
    {"monitor", {"ipc", "sandbox"}},
    {"spawner", {"ipc", "sandbox"}},
};

// The includes of our own headers and of the system's in one layer, by file.
std::map<std::string, std::vector<std::string>> includes_of(const fs::path& folder) {
  std::map<std::string, std::vector<std::string>> result;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const auto extension = entry.path().extension();
    if (extension != ".cc" && extension != ".h" && extension != ".S") continue;
    std::ifstream file(entry.path());
    auto& includes = result[entry.path().string()];
    for (std::string line; std::getline(file, line);) {
      if (!line.starts_with("#include ")) continue;
      includes.push_back(line.substr(10, line.size() - 11));
    }
  }
  return result;
}

// The C++ namespaces of a program's own symbols.
std::set<std::string> namespaces_of(const fs::path& program) {
  const std::string command = "nm -C --defined-only '" + program.string() + "' 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> output(::popen(command.c_str(), "r"), &::pclose);
  std::set<std::string> result;
  char line[4096];
  while (std::fgets(line, sizeof line, output.get()) != nullptr) {
    const std::string text(line);
    const std::size_t name = text.size() > 19 ? 19 : text.size();
    const std::size_t end = text.find("::", name);
    if (end != std::string::npos) result.insert(text.substr(name, end - name));
  }
  return result;
}

}  // namespace

SCENARIO("A layer includes only the layers that it may use", "[architecture]") {
  const fs::path source = BULKHEAD_SOURCE;
  REQUIRE(fs::exists(source / "ipc"));
  for (const std::string& layer : kLayers) {
    const auto files = includes_of(source / layer);
    REQUIRE_FALSE(files.empty());
    for (const auto& [file, includes] : files) {
      for (const std::string& include : includes) {
        for (const std::string& other : kLayers) {
          if (other == layer || !include.starts_with(other + "/")) continue;
          INFO(file << " includes " << include);
          CHECK(kMayInclude.at(layer).contains(other));
        }
      }
    }
  }
}

SCENARIO("The monitor is less than 3000 lines, and what is privileged while the guest runs less than 700",
         "[architecture]") {
  const auto lines_in = [](const std::string& folder) {
    std::ptrdiff_t lines = 0;
    for (const auto& entry : fs::directory_iterator(fs::path(BULKHEAD_SOURCE) / folder)) {
      if (entry.path().extension() != ".cc" && entry.path().extension() != ".h") continue;
      std::ifstream file(entry.path());
      lines += std::count(std::istreambuf_iterator<char>(file), {}, '\n');
    }
    return lines;
  };
  CHECK(lines_in("monitor") > 0);
  CHECK(lines_in("monitor") < 3000);
  CHECK(lines_in("spawner") > 0);
  CHECK(lines_in("spawner") < 700);
}

SCENARIO("KVM's header is included in one place, and never by a back end", "[architecture]") {
  const fs::path source = BULKHEAD_SOURCE;
  std::vector<std::string> includers;
  for (const std::string& layer : kLayers) {
    for (const auto& [file, includes] : includes_of(source / layer)) {
      for (const std::string& include : includes) {
        if (include == "linux/kvm.h") includers.push_back(fs::relative(file, source).string());
        INFO(file);
        CHECK_FALSE((layer == "backends" && include == "sandbox/linux_kvm.h"));
      }
    }
  }
  CHECK(includers == std::vector<std::string>{"sandbox/linux_kvm.h"});
}

SCENARIO("What back ends share is in back ends alone", "[architecture]") {
  const fs::path programs = environment("BULKHEAD_BIN");
  for (const std::string program :
       {"bulkhead", "bulkhead-monitor", "bulkhead-spawner", "bulkhead-vcpu-host", "bulkhead-blk", "bulkhead-net"}) {
    const auto found = namespaces_of(programs / program);
    INFO(program);
    for (const std::string shared : {"virtio", "serve", "program"})
      CHECK(found.contains(shared) == (program == "bulkhead-blk" || program == "bulkhead-net"));
  }
}

SCENARIO("A program holds no other process's code", "[architecture]") {
  const fs::path programs = environment("BULKHEAD_BIN");
  const std::map<std::string, std::set<std::string>> own{
      {"bulkhead", {"cli"}},
      {"bulkhead-monitor", {"monitor"}},
      {"bulkhead-spawner", {"spawner"}},
      {"bulkhead-vcpu-host", {"vcpu_host"}},
      {"bulkhead-blk", {"blk"}},
      {"bulkhead-net", {"net"}},
  };
  for (const auto& [program, namespaces] : own) {
    REQUIRE(fs::exists(programs / program));
    const auto found = namespaces_of(programs / program);
    for (const auto& [other, foreign] : own) {
      for (const std::string& name : foreign) {
        INFO(program << " has symbols of namespace " << name);
        if (other == program)
          CHECK(found.contains(name));
        else
          CHECK_FALSE(found.contains(name));
      }
    }
  }
}
