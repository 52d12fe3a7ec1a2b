// How a forked piece of code ended.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace support {

// Runs `body` in a forked process. The signal that killed it, or 0 if it ended by itself: `body`
// returns or exits. SIGALRM: it hung for ten seconds.
template <class Body>
int killed_by(Body body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);  // the test runner's handlers
    ::alarm(10);
    body();
    ::_exit(0);
  }
  int status = 0;
  if (pid < 0 || ::waitpid(pid, &status, 0) != pid) return -1;
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace support
