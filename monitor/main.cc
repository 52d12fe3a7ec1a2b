// bulkhead-monitor: opens what a virtual machine needs, gives its rights up, and supervises. `bulkhead run` becomes it.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <cstdio>
#include <string_view>

#include "ipc/operators.h"
#include "monitor/exit_status.h"
#include "monitor/message.h"
#include "monitor/virtual_machine.h"
#include "sandbox/capabilities.h"
#include "sandbox/policy/monitor.h"

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

// The other programs lie beside our own.
Result<std::string> own_folder() {
  std::string folder(4096, '\0');
  const ssize_t length = ::readlink("/proc/self/exe", folder.data(), folder.size());
  if (length <= 0) return ipc::system_failure("find the folder of this program");
  folder.resize(static_cast<std::size_t>(length));
  folder.resize(folder.rfind('/') + 1);
  return folder;
}

// What is left to do with privileges the spawner does from now on.
Result<ipc::Seal> confine(Spawner& spawner) {
  TRY(spawner.seal());
  TRY(sandbox::take_identity(sandbox::identity_of(::getpid(), sandbox::kMonitorIdentity)));
  const sandbox::Protections protections = TRY(sandbox::lock_down());
  TRY(sandbox::enter_filter(sandbox::kMonitorPolicy, sandbox::Slots()));
  return ipc::Seal{sandbox::layer_bits(protections), protections.landlock_abi};
}

// What an error of this means for who started us.
template <class T>
std::expected<T, Ending> as(Ending::Kind kind, Result<T> result) {
  if (!result) return std::unexpected(Ending{kind, ipc::describe(result.error())});
  if constexpr (std::is_void_v<T>)
    return {};
  else
    return std::move(*result);
}

// EINVAL is the configuration's fault; anything else the host's.
std::expected<void, Ending> by_code(Result<> result) {
  const bool invalid = !result && result.error().code == EINVAL;
  return as(invalid ? Ending::Kind::BadConfiguration : Ending::Kind::HostNotAble, std::move(result));
}

// Runs one guest, with as many reboots as it likes: the status to end with.
std::expected<int, Ending> supervise(Host host, Operator& wishes, std::function<void(VirtualMachine*)> running) {
  const std::string& name = host.configuration.name;
  for (;;) {
    auto machine = TRY(VirtualMachine::power_on(host));
    running(machine.get());
    while (!machine->ending() && !wishes.signal) TRY(as(Ending::Kind::InternalError, host.loop.run_once(-1)));
    running(nullptr);
    if (wishes.signal) {
      say(name, fmt::format("stopped by signal {} ({})", *wishes.signal, ::strsignal(*wishes.signal)));
      return static_cast<int>(ExitStatus::SignalBase) + *wishes.signal;
    }
    Ending ending = *machine->ending();
    machine.reset();
    if (ending.kind != Ending::Kind::Reset) return std::unexpected(std::move(ending));
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

// `name` becomes the machine's, as soon as it is known.
std::expected<int, Ending> run(std::string& name) {
  using Kind = Ending::Kind;
  TRY(as(Kind::InternalError, leave_callers_habits()));
  const Configuration configuration = TRY(as(Kind::BadConfiguration, read_configuration(UniqueFd(kConfigurationFd))));
  name = configuration.name;

  // What the operator got wrong comes before what the host lacks.
  TRY(as(Kind::BadConfiguration, check_memory(configuration.memory_mib)));
  // Inherited by all children: no other machine's process runs beside one of ours on a core's other threads.
  TRY(as(Kind::InternalError, sandbox::own_core()));
  TRY(by_code(check_isolation(configuration, sandbox::supported_protections())));
  const Images images = TRY(as(Kind::BadConfiguration, open_images(configuration)));
  const KvmSystem kvm = TRY(as(Kind::HostNotAble, open_kvm()));
  if (configuration.cpus > kvm.max_cpus)
    return std::unexpected(
        Ending{Kind::BadConfiguration,
               fmt::format("cpus: {} virtual CPUs, this host's KVM allows {}", configuration.cpus, kvm.max_cpus)});
  const std::string programs = TRY(as(Kind::HostNotAble, own_folder()));
  const auto spawner = TRY(as(Kind::HostNotAble, Spawner::start(programs, configuration)));
  // First of what it makes: who has the folder has the name, and with it the cgroup.
  std::vector<UniqueFd> controls;
  if (!configuration.control.empty()) controls = TRY(as(Kind::BadConfiguration, spawner->make_folder()));
  TRY(by_code(spawner->make_cgroup()));

  const UniqueFd signals = TRY(as(Kind::InternalError, take_signals()));
  ipc::EventLoop loop = TRY(as(Kind::InternalError, ipc::EventLoop::create()));
  std::vector<std::unique_ptr<WayOut>> ways;
  for (std::size_t card = 0; card < configuration.nets.size(); ++card)
    ways.push_back(TRY(as(Kind::BadConfiguration, WayOut::open(loop, *spawner, configuration, card))));

  Operator wishes;
  VirtualMachine* current = nullptr;
  const auto power_button = [&] {
    if (current != nullptr) current->press_power_button();
  };
  TRY(as(Kind::InternalError, loop.watch(signals, [&] {
    signalfd_siginfo info{};
    if (::read(signals.get(), &info, sizeof info) != sizeof info) return;
    if (info.ssi_signo == SIGTERM && !std::exchange(wishes.asked_politely, true)) {
      say(name, "SIGTERM: pressed the power button; once more stops the machine at once");
      return power_button();
    }
    wishes.signal = static_cast<int>(info.ssi_signo);
  })));
  std::unique_ptr<ipc::Operators> clients;
  if (!controls.empty())
    clients = TRY(as(
        Kind::InternalError,
        ipc::Operators::create(controls.front(), loop,
                               {.answer = [&](ipc::Frame& request,
                                              ipc::ControlChannel& client) { return answer(current, request, client); },
                                .log = [&](const std::string& line) { say(name, line); }})));
  const auto serial =
      TRY(as(Kind::BadConfiguration, SerialRelay::create(loop, configuration.serial,
                                                         {.stop = [&] { wishes.signal = SIGINT; },
                                                          .power_button = power_button,
                                                          .tell = [&](const std::string& text) { say(name, text); }})));
  const ipc::Seal seal = TRY(as(Kind::InternalError, confine(*spawner)));
  const auto operators = std::span(controls).subspan(controls.empty() ? 0 : 1);
  return supervise({loop, configuration, images, kvm, *spawner, ways, operators, *serial, seal}, wishes,
                   [&](VirtualMachine* machine) { current = machine; });
}

}  // namespace
}  // namespace monitor

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--help") {
    std::puts("bulkhead-monitor runs one virtual machine. `bulkhead run` starts it; see `bulkhead run --help`.");
    return 0;
  }
  std::string name = "run";
  const auto status = monitor::run(name);
  if (status) return *status;
  if (!status.error().reason.empty()) monitor::say(name, status.error().reason);
  return static_cast<int>(monitor::status_of(status.error().kind));
}
