#include "monitor/resources.h"
#include "tests/support/catch.h"

using Catch::Matchers::Contains;
using Layer = ipc::schema::Isolation::Layer;

namespace {

std::string refusal(std::vector<Layer> required, const sandbox::Protections& offered, int landlock_abi = 0) {
  monitor::Configuration machine;
  machine.required = std::move(required);
  machine.landlock_abi = landlock_abi;
  const auto checked = monitor::check_isolation(machine, offered);
  return checked ? "" : ipc::describe(checked.error());
}

constexpr sandbox::Protections kDebian12{.no_new_privs = true,
                                         .not_dumpable = true,
                                         .deny_write_execute = false,
                                         .landlock_abi = 2,
                                         .seccomp_kill_process = true};

}  // namespace

TEST_CASE("a machine starts where the host has what it requires") {
  CHECK(refusal({}, sandbox::Protections()).empty());
  CHECK(
      refusal({Layer::NO_NEW_PRIVILEGES, Layer::NOT_DUMPABLE, Layer::LANDLOCK, Layer::SECCOMP}, kDebian12, 2).empty());
}

TEST_CASE("a machine does not start where the host lacks what it requires, which is named") {
  CHECK(refusal({Layer::SECCOMP, Layer::DENY_WRITE_EXECUTE}, kDebian12) ==
        "isolation: this host lacks deny write and execute: needs Linux 6.3");
  CHECK(refusal({}, kDebian12, 4) == "isolation: this host has Landlock ABI 2, not 4");
  CHECK_THAT(refusal({Layer::LANDLOCK}, sandbox::Protections()), Contains("lacks Landlock: needs Linux 5.13"));
  CHECK_THAT(refusal({Layer::NO_NEW_PRIVILEGES}, sandbox::Protections()), Contains("lacks no new privileges"));
  CHECK_THAT(refusal({Layer::NOT_DUMPABLE}, sandbox::Protections()), Contains("lacks not dumpable"));
  CHECK_THAT(refusal({Layer::SECCOMP}, sandbox::Protections()), Contains("lacks seccomp"));
  CHECK_THAT(refusal({Layer::CORE_SCHEDULING}, sandbox::Protections()), Contains("lacks core scheduling: needs Linux"));
}

TEST_CASE("a layer that there is not is refused") {
  CHECK_THAT(refusal({static_cast<Layer>(6)}, kDebian12), Contains("an unknown layer: Invalid argument"));
}
