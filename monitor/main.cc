// bulkhead-monitor: the one privileged process of a virtual machine. `bulkhead run` becomes it.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <cstdio>
#include <string_view>

#include "ipc/operators.h"
#include "monitor/control_folder.h"
#include "monitor/exit_status.h"
#include "monitor/message.h"
#include "monitor/virtual_machine.h"
#include "sandbox/parent.h"

namespace monitor {
namespace {

using ipc::Result;
using ipc::UniqueFd;

constexpr int kConfigurationFd = 3;

// What ends the VM from outside.
struct Operator {
  std::optional<int> signal;    // ends it at once
  bool asked_politely = false;  // SIGTERM once: the power button
};

int report(const std::string& name, ExitStatus status, std::string_view reason) {
  say(name, reason);
  return static_cast<int>(status);
}

ExitStatus status_of(Ending::Kind kind) {
  switch (kind) {
    case Ending::Kind::PoweredOff:
    case Ending::Kind::Reset:
      return ExitStatus::PoweredOff;
    case Ending::Kind::GuestCrashed:
      return ExitStatus::GuestCrashed;
    case Ending::Kind::ChildLost:
      return ExitStatus::ChildLost;
    case Ending::Kind::BadConfiguration:
      return ExitStatus::BadConfiguration;
    case Ending::Kind::HostNotAble:
      return ExitStatus::HostNotAble;
    case Ending::Kind::InternalError:
      break;
  }
  return ExitStatus::InternalError;
}

// What a caller may leave to its programs and would break us: closed standard descriptors, which an image
// would take the place of, and be written to; SIGCHLD ignored, which hides how a child ended; and a limit
// of descriptors that large machines exceed. SIGPIPE is an error of a write like others.
Result<> leave_callers_habits() {
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) < 0) return ipc::system_failure("open /dev/null");
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGCHLD, SIG_DFL);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return ipc::system_failure("ask for the limit of descriptors");
  files.rlim_cur = files.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &files) != 0) return ipc::system_failure("raise the limit of descriptors");
  return {};
}

// The signals that end a VM, as a descriptor.
Result<UniqueFd> take_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) ::sigaddset(&signals, number);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return ipc::system_failure("block signals");
  UniqueFd fd(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return ipc::system_failure("make a signal descriptor");
  return fd;
}

// The children's programs lie beside our own.
Result<Programs> find_programs(bool has_cards, const UniqueFd* cgroup) {
  std::string folder(4096, '\0');
  const ssize_t length = ::readlink("/proc/self/exe", folder.data(), folder.size());
  if (length <= 0) return ipc::system_failure("find the folder of this program");
  folder.resize(static_cast<std::size_t>(length));
  folder.resize(folder.rfind('/') + 1);
  const auto open = [&](const char* name) -> Result<Program> {
    UniqueFd file(::open((folder + name).c_str(), O_PATH | O_CLOEXEC));
    if (!file) return ipc::system_failure(folder + name);
    return Program{name, std::move(file), cgroup};
  };
  return Programs{TRY(open("bulkhead-vcpu-host")), TRY(open("bulkhead-blk")),
                  has_cards ? TRY(open("bulkhead-net")) : Program()};
}

// Runs one guest, with as many reboots as it likes.
int supervise(Host host, Operator& wishes, std::function<void(VirtualMachine*)> running) {
  const std::string& name = host.configuration.name;
  for (;;) {
    auto machine = VirtualMachine::power_on(host);
    if (!machine) return report(name, status_of(machine.error().kind), machine.error().reason);
    running(machine->get());
    while (!(*machine)->ending() && !wishes.signal) {
      if (const auto round = host.loop.run_once(-1); !round)
        return report(name, ExitStatus::InternalError, ipc::describe(round.error()));
    }
    running(nullptr);
    if (wishes.signal) {
      say(name, fmt::format("stopped by signal {} ({})", *wishes.signal, ::strsignal(*wishes.signal)));
      return static_cast<int>(ExitStatus::SignalBase) + *wishes.signal;
    }
    const Ending ending = *(*machine)->ending();
    machine->reset();
    if (ending.kind != Ending::Kind::Reset) {
      if (!ending.reason.empty()) say(name, ending.reason);
      return static_cast<int>(status_of(ending.kind));
    }
    say(name, "the guest reboots");
  }
}

// What an operator asks of the machine, or between two of its lives, of nothing.
Result<> answer(VirtualMachine* machine, ipc::Frame& request, ipc::ControlChannel& client) {
  capnp::MallocMessageBuilder message;
  auto answer = message.initRoot<ipc::schema::MachineAnswer>();
  const auto asked = request.root<ipc::schema::MachineRequest>();
  if (machine == nullptr) {
    answer.setFailed("the machine reboots; ask again");
  } else if (asked.isStatus()) {
    machine->describe(answer.initStatus());
  } else if (asked.isRestart() && request.fds.size() <= 1) {
    const auto restarted =
        machine->restart(asked.getRestart().cStr(), request.fds.empty() ? UniqueFd() : std::move(request.fds[0]));
    if (restarted)
      answer.setDone();
    else
      answer.setFailed(ipc::describe(restarted.error()));
  } else {
    answer.setFailed("unknown request");
  }
  return client.send(message);
}

int run() {
  if (const auto left = leave_callers_habits(); !left)
    return report("run", ExitStatus::InternalError, ipc::describe(left.error()));
  auto configuration = read_configuration(UniqueFd(kConfigurationFd));
  if (!configuration) return report("run", ExitStatus::BadConfiguration, ipc::describe(configuration.error()));
  const std::string& name = configuration->name;

  // What the operator got wrong comes before what the host lacks.
  if (const auto memory = check_memory(configuration->memory_mib); !memory)
    return report(name, ExitStatus::BadConfiguration, ipc::describe(memory.error()));
  // Inherited by all children: no other machine's process runs beside one of ours on a core's other threads.
  if (const auto own = sandbox::own_core(); !own)
    return report(name, ExitStatus::InternalError, ipc::describe(own.error()));
  if (const auto isolated = check_isolation(*configuration, sandbox::supported_protections()); !isolated)
    return report(name, isolated.error().code == 0 ? ExitStatus::HostNotAble : ExitStatus::BadConfiguration,
                  ipc::describe(isolated.error()));
  const auto images = open_images(*configuration);
  if (!images) return report(name, ExitStatus::BadConfiguration, ipc::describe(images.error()));
  const auto kvm = open_kvm();
  if (!kvm) return report(name, ExitStatus::HostNotAble, ipc::describe(kvm.error()));
  if (configuration->cpus > kvm->max_cpus)
    return report(name, ExitStatus::BadConfiguration,
                  fmt::format("cpus: {} virtual CPUs, this host's KVM allows {}", configuration->cpus, kvm->max_cpus));
  const auto cgroup = sandbox::Cgroup::make(configuration->cgroup, name, configuration->limits);
  if (!cgroup)
    return report(name, cgroup.error().code == EINVAL ? ExitStatus::BadConfiguration : ExitStatus::HostNotAble,
                  ipc::describe(cgroup.error()));
  const auto programs = find_programs(!configuration->nets.empty(), cgroup->directory());
  if (!programs) return report(name, ExitStatus::HostNotAble, ipc::describe(programs.error()));

  const auto signals = take_signals();
  if (!signals) return report(name, ExitStatus::InternalError, ipc::describe(signals.error()));
  auto loop = ipc::EventLoop::create();
  if (!loop) return report(name, ExitStatus::InternalError, ipc::describe(loop.error()));

  std::vector<std::unique_ptr<WayOut>> ways;
  for (const NetConfiguration& card : configuration->nets) {
    auto way = WayOut::open(*loop, card, name, fmt::format("net{}", ways.size()));
    if (!way) return report(name, ExitStatus::BadConfiguration, ipc::describe(way.error()));
    ways.push_back(std::move(*way));
  }

  std::unique_ptr<ControlFolder> folder;
  if (!configuration->control.empty()) {
    auto made = ControlFolder::make(configuration->control, configuration->disks.size(), configuration->nets.size());
    if (!made) return report(name, ExitStatus::BadConfiguration, ipc::describe(made.error()));
    folder = std::move(*made);
  }

  Operator wishes;
  VirtualMachine* current = nullptr;
  const auto power_button = [&] {
    if (current != nullptr) current->press_power_button();
  };
  const auto watched = loop->watch(*signals, [&] {
    signalfd_siginfo info{};
    if (::read(signals->get(), &info, sizeof info) != sizeof info) return;
    if (info.ssi_signo == SIGTERM && !std::exchange(wishes.asked_politely, true)) {
      say(name, "SIGTERM: pressed the power button; once more stops the machine at once");
      return power_button();
    }
    wishes.signal = static_cast<int>(info.ssi_signo);
  });
  if (!watched) return report(name, ExitStatus::InternalError, ipc::describe(watched.error()));

  std::unique_ptr<ipc::Operators> clients;
  if (folder) {
    auto served = ipc::Operators::create(
        folder->monitor(), *loop,
        {.answer = [&](ipc::Frame& request, ipc::ControlChannel& client) { return answer(current, request, client); },
         .log = [&](const std::string& line) { say(name, line); }});
    if (!served) return report(name, ExitStatus::InternalError, ipc::describe(served.error()));
    clients = std::move(*served);
  }

  auto serial = SerialRelay::create(*loop, configuration->serial,
                                    {.stop = [&] { wishes.signal = SIGINT; },
                                     .power_button = power_button,
                                     .tell = [&](const std::string& text) { say(name, text); }});
  if (!serial) return report(name, ExitStatus::BadConfiguration, ipc::describe(serial.error()));
  if (const auto confined = sandbox::confine_parent(); !confined)
    return report(name, ExitStatus::InternalError, ipc::describe(confined.error()));
  const auto operators = folder ? folder->devices() : std::span<const UniqueFd>();
  return supervise({*loop, *configuration, *images, *kvm, *programs, ways, operators, **serial}, wishes,
                   [&](VirtualMachine* machine) { current = machine; });
}

}  // namespace
}  // namespace monitor

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--help") {
    std::puts("bulkhead-monitor runs one virtual machine. `bulkhead run` starts it; see `bulkhead run --help`.");
    return 0;
  }
  return monitor::run();
}
