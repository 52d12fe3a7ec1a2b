// The program itself: what a caller sees of it, and what the monitor gets from it.
#include <capnp/serialize.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "ipc/unique_fd.h"
#include "tests/support/catch.h"
#include "tests/unit/cli/asked.h"

namespace cli::test {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;

class Directory {
 public:
  Directory() {
    char name[] = "/tmp/bulkhead-cli-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Directory() { fs::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

struct Outcome {
  int status;  // -1 where it did not end by itself
  std::string output;
};

// By the shell, which `arguments` may tell to redirect; what is left of stdout and stderr together.
Outcome bulkhead(const std::string& arguments) {
  const std::string command = fmt::format("{{ {}/bulkhead {}; }} 2>&1", std::getenv("BULKHEAD_BIN"), arguments);
  FILE* const pipe = ::popen(command.c_str(), "r");
  Outcome outcome{.status = -1, .output = {}};
  char buffer[4096];
  while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, pipe)) outcome.output.append(buffer, count);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) outcome.status = WEXITSTATUS(status);
  return outcome;
}

// A bulkhead-monitor that does what the test's shell commands say.
void install_monitor(const fs::path& directory, const std::string& commands) {
  const fs::path program = directory / "bulkhead-monitor";
  std::ofstream(program) << "#!/bin/sh\n" << commands << '\n';
  fs::permissions(program, fs::perms::owner_all);
}

}  // namespace

SCENARIO("Wrong usage is one line on stderr and exit status 2", "[cli][program]") {
  const char* const arguments = GENERATE("", "run", "run --frob", "run --kernel k --cpus 0", "run /nonexistent.json",
                                         "doctor --json --kernel", "'run\nrun'", "run --kernel 'a' 'b\nc'");
  INFO(arguments);
  const Outcome outcome = bulkhead(fmt::format("{} >/dev/null", arguments));
  CHECK(outcome.status == 2);
  CHECK_THAT(outcome.output, StartsWith("bulkhead: "));
  CHECK(std::ranges::count(outcome.output, '\n') == 1);
}

SCENARIO("Help and version go to stdout with exit status 0", "[cli][program]") {
  const char* const arguments = GENERATE("--help", "-h", "--version", "run --help", "doctor --help");
  INFO(arguments);
  const Outcome outcome = bulkhead(fmt::format("{} 2>/dev/null", arguments));
  CHECK(outcome.status == 0);
  CHECK_THAT(outcome.output, Contains("bulkhead"));
}

SCENARIO("The monitor gets the machine as descriptor 3 and no other descriptor", "[cli][program]") {
  const Directory directory;
  const fs::path& path = directory.path();
  // The shell's own descriptors are 10 and above.
  install_monitor(path, fmt::format("cat /proc/self/fd/3 >{0}/message\n"
                                    "for fd in 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || echo left open: $fd; done\n"
                                    "(echo x >&3) 2>/dev/null && echo may be written\n"
                                    "exit 42",
                                    path.string()));
  const Outcome outcome = bulkhead(
      fmt::format("run --kernel k --disk path=d --libexec {} 3</dev/null 4</dev/null 7</dev/null", path.string()));
  CHECK(outcome.status == 42);
  CHECK(outcome.output.empty());

  const ipc::UniqueFd file(::open((path / "message").c_str(), O_RDONLY | O_CLOEXEC));
  capnp::StreamFdMessageReader message(file.get());
  const auto machine = message.getRoot<ipc::schema::Machine>();
  CHECK(text(machine.getKernel()) == "k");
  REQUIRE(machine.getDisks().size() == 1);
  CHECK(text(machine.getDisks()[0].getPath()) == "d");
}

SCENARIO("Closed standard streams do not become the machine's descriptor", "[cli][program]") {
  const Directory directory;
  install_monitor(directory.path(), "[ -s /proc/self/fd/3 ] || exit 1; [ -e /proc/$$/fd/0 ] || exit 1; exit 42");
  CHECK(bulkhead(fmt::format("run --kernel k --libexec {} <&- >&-", directory.path().string())).status == 42);
}

SCENARIO("A missing monitor is named", "[cli][program]") {
  const Outcome outcome = bulkhead("run --kernel k --libexec /nonexistent");
  CHECK(outcome.status == 6);
  CHECK(outcome.output == "bulkhead: run /nonexistent/bulkhead-monitor: No such file or directory\n");
}

SCENARIO("doctor's exit status, its last line and its JSON say the same", "[cli][program][doctor]") {
  const Outcome table = bulkhead("doctor");
  const Outcome json = bulkhead("doctor --json");
  const bool able = table.status == 0;
  CHECK((able || table.status == 3));
  CHECK(json.status == table.status);
  CHECK_THAT(json.output, Contains(able ? "\"able\": true" : "\"able\": false"));
  CHECK_THAT(table.output, Catch::Matchers::EndsWith(able ? "This host can run guests.\n"
                                                          : "This host cannot run guests: see MISSING above.\n"));
  for (const char* checked : {"kernel", "/dev/kvm", "io_uring", "Landlock", "seccomp", "user namespaces", "cgroup v2",
                              "huge pages", "unmodified kernels"})
    CHECK_THAT(table.output, Contains(checked));
}

SCENARIO("doctor without a /dev/kvm says so and ends with 3", "[cli][program][doctor]") {
  if (fs::exists("/dev/kvm")) SKIP_TEST("this host has a /dev/kvm");
  const Outcome outcome = bulkhead("doctor");
  CHECK(outcome.status == 3);
  CHECK_THAT(outcome.output, Contains("MISSING"));
}

}  // namespace cli::test
