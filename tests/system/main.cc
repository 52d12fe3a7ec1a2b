// A system test runs where a KVM is: this program starts itself again there, by tests/system/in-lab.
#define CATCH_CONFIG_RUNNER
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "tests/support/catch.h"

namespace {

// ctest asks for the names of the tests when it is built, where no KVM is needed.
bool only_lists(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]).starts_with("--list")) return true;
  }
  return false;
}

int run_where_kvm_is(char** argv) {
  std::vector<char*> command(argv, argv + 1);
  char launcher[] = BULKHEAD_SYSTEM_LAUNCHER;
  command.insert(command.begin(), launcher);
  for (char** argument = argv + 1; *argument != nullptr; ++argument) command.push_back(*argument);
  command.push_back(nullptr);
  execv(launcher, command.data());
  std::perror(launcher);
  return EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (only_lists(argc, argv) || std::getenv("BULKHEAD_SYSTEM_DIR") != nullptr) return Catch::Session().run(argc, argv);
  return run_where_kvm_is(argv);
}
