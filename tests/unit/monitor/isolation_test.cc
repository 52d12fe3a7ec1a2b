#include "monitor/isolation.h"

#include "tests/support/catch.h"

using Catch::Matchers::Contains;
using monitor::check_isolation;

namespace {

std::string refusal(const std::string& required, const sandbox::Protections& offered) {
  const auto checked = check_isolation(std::span(&required, 1), offered);
  return checked ? "" : checked.error().context;
}

constexpr sandbox::Protections kDebian12{.no_new_privs = true,
                                         .not_dumpable = true,
                                         .deny_write_execute = false,
                                         .landlock_abi = 2,
                                         .seccomp_kill_process = true};

}  // namespace

TEST_CASE("a machine starts where the host has what it requires") {
  CHECK(check_isolation({}, sandbox::Protections()));
  for (const char* layer : {"no-new-privileges", "not-dumpable", "landlock", "landlock:1", "landlock:2", "seccomp"}) {
    INFO(layer);
    CHECK(refusal(layer, kDebian12).empty());
  }
}

TEST_CASE("a machine does not start where the host lacks what it requires, which is named") {
  CHECK(refusal("deny-write-execute", kDebian12) ==
        "isolation: this host lacks deny-write-execute, which needs Linux 6.3");
  CHECK(refusal("landlock:4", kDebian12) == "isolation: this host has Landlock ABI 2, not 4");
  CHECK_THAT(refusal("landlock", sandbox::Protections()), Contains("lacks landlock, which needs Linux 5.13"));
  const std::vector<std::string> several{"seccomp", "landlock:9"};
  CHECK(check_isolation(several, kDebian12).error().code == ENOTSUP);
}

TEST_CASE("a layer that there is not is refused, with those that there are") {
  for (const char* layer : {"", "Landlock", "selinux", "landlock:", "landlock:x", "landlock:0", "landlock:4x"}) {
    INFO(layer);
    CHECK_THAT(refusal(layer, kDebian12), Contains("no-new-privileges, not-dumpable, deny-write-execute, landlock, "
                                                   "seccomp, landlock:N are right"));
  }
}
