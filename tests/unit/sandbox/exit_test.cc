#include <signal.h>
#include <sys/syscall.h>

#include "sandbox/child_process.h"
#include "tests/support/catch.h"

using sandbox::Exit;

SCENARIO("exit: the end of a child is described for people", "[exit]") {
  CHECK(Exit{Exit::Kind::Exited, 3}.describe() == "exit status 3");
  CHECK(Exit{Exit::Kind::Killed, SIGSYS}.describe() == "killed by signal 31 (Bad system call)");
  CHECK((Exit{Exit::Kind::Killed, SIGSYS, SYS_ptrace}.describe()) ==
        "killed by signal 31 (Bad system call): its policy does not list ptrace so");
  CHECK_THAT((Exit{Exit::Kind::Killed, SIGSYS, 1000}.describe()), Catch::Matchers::Contains("list number 1000 so"));
  CHECK_THAT((Exit{Exit::Kind::Killed, SIGSYS, sandbox::kOtherArchitecture}.describe()),
             Catch::Matchers::Contains("list a call of another architecture so"));
  CHECK(Exit{Exit::Kind::Killed, SIGKILL}.describe() == "killed by signal 9 (Killed)");
}

SCENARIO("exit: only status 0 is clean", "[exit]") {
  CHECK(Exit{Exit::Kind::Exited, 0}.clean());
  CHECK_FALSE(Exit{Exit::Kind::Exited, 1}.clean());
  CHECK_FALSE(Exit{Exit::Kind::Killed, 0}.clean());
}
