#include <signal.h>

#include "sandbox/child_process.h"
#include "tests/support/catch.h"

using sandbox::Exit;

SCENARIO("exit: the end of a child is described for people", "[exit]") {
  CHECK(Exit{Exit::Kind::Exited, 3}.describe() == "exit status 3");
  CHECK(Exit{Exit::Kind::Killed, SIGSYS}.describe() == "killed by signal 31 (Bad system call)");
  CHECK(Exit{Exit::Kind::Killed, SIGKILL}.describe() == "killed by signal 9 (Killed)");
}

SCENARIO("exit: only status 0 is clean", "[exit]") {
  CHECK(Exit{Exit::Kind::Exited, 0}.clean());
  CHECK_FALSE(Exit{Exit::Kind::Exited, 1}.clean());
  CHECK_FALSE(Exit{Exit::Kind::Killed, 0}.clean());
}
