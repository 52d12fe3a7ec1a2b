// bulkhead-spawner: does for one monitor what takes privileges while the guest runs, and nothing else. It parses
// nothing that a guest, a back end or an operator says.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string_view>

#include "spawner/spawner.h"

namespace spawner {
namespace {

using ipc::Result;

// A terminal's Ctrl-C, and a service manager that stops all of a unit, are for the monitor: we end with it.
void leave_signals_to_the_monitor() {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
}

// Until the monitor has gone.
Result<> serve() {
  ipc::ControlChannel monitor{ipc::UniqueFd(sandbox::kControlFd)};
  Spawner spawner;
  while (auto request = TRY(monitor.receive())) {
    capnp::MallocMessageBuilder message;
    const Descriptors descriptors = spawner.answer(*request, message.initRoot<ipc::schema::SpawnerAnswer>());
    std::vector<int> fds;
    for (const ipc::UniqueFd& descriptor : descriptors) fds.push_back(descriptor.get());
    if (!monitor.send(message, fds)) break;  // it does not read what it asked for
  }
  return {};
}

}  // namespace
}  // namespace spawner

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--help") {
    std::puts(
        "bulkhead-spawner starts the processes of one VM. bulkhead-monitor starts it; see `bulkhead run --help`.");
    return 0;
  }
  spawner::leave_signals_to_the_monitor();
  const auto served = spawner::serve();
  if (served) return 0;
  std::fprintf(stderr, "bulkhead: spawner: %s\n", ipc::describe(served.error()).c_str());
  return 1;
}
