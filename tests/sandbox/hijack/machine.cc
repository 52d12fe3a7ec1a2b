#include "tests/sandbox/hijack/machine.h"

#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "sandbox/linux_kvm.h"
#include "tests/integration/monitor/loaded.h"

namespace hijacked {
namespace {

using namespace supervised;
using namespace system_test;
using support::hijack;
using support::threads_of;

using Clock = std::chrono::steady_clock;

constexpr std::size_t kToldOf = 16;
constexpr const char* kKilled = "killed by signal 31 (Bad system call)";

std::vector<std::string> causes(const Call& call) {
  return {kKilled, cause(call)};
}

// Within a second, as the threat model has it.
bool gone(const std::vector<Process>& processes) {
  for (int tries = 0; tries < 100; ++tries) {
    if (std::ranges::none_of(processes, [](const Process& process) { return exists(process); })) return true;
    std::this_thread::sleep_for(Seconds(0.01));
  }
  return false;
}

class VcpuHost {
 public:
  VcpuHost() {
    if (!machine_.expect("no device to attack", kPatience)) throw std::runtime_error(machine_.errors());
    children_ = children_of(machine_.pid());
    const Process* const found = find_by_name(children_, "bulkhead-vcpu-host");
    if (found == nullptr) throw std::runtime_error("no vcpu-host");
    pid_ = found->pid;
  }
  pid_t pid() const { return pid_; }

  // How the machine ended, if not as it should.
  std::string wrong_end(const Call& call) {
    const auto status = machine_.wait(kPatience);
    if (status != kChildLost) return "the machine ended with " + std::to_string(status.value_or(-1));
    const auto told = [&](const std::string& why) {
      return machine_.errors() == "bulkhead: vm: vcpu-host was lost: " + why + "\n";
    };
    if (std::ranges::none_of(causes(call), told)) return machine_.errors();
    return gone(children_) ? "" : "its processes live on";
  }

 private:
  Command machine_{{std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead", "run", "--kernel", HOSTILE_PAYLOAD,
                    "--memory", "16", "--cpus", "2"}};
  std::vector<Process> children_;
  pid_t pid_ = 0;
};

// A monitor that has given everything up, with children that are fakes.
class Confined {
 public:
  Confined() {
    if (!monitor_.expect("boot 1\n", kPatience)) throw std::runtime_error(monitor_.errors());
    children_ = children_of(monitor_.pid());
  }
  pid_t pid() const { return monitor_.pid(); }
  pid_t spawner() const { return find_by_name(children_, "bulkhead-spawner")->pid; }
  void power_off() { monitor_.send("off\n"); }
  std::string wrong_end(int right) {
    const auto status = monitor_.wait(kPatience);
    if (status != right) return "it ended with " + std::to_string(status.value_or(-1));
    return gone(children_) ? "" : "its children live on";
  }

 private:
  Folder folder_;
  Monitor monitor_{folder_, {.kernel = folder_.file("kernel", 1), .disks = {{folder_.file("disk", 512)}}}};
  std::vector<Process> children_;
};

// The disk's back end that came after `last`, as soon as it is sealed: it has a filter more than its spawner.
Process next_sealed(const Loaded& machine, const Process& last) {
  const auto filters = [](const Process* process) {
    return process == nullptr ? 0 : std::atoi(status_field(process->pid, "Seccomp_filters").c_str());
  };
  for (const auto end = Clock::now() + kPatience; Clock::now() < end;) {
    const std::vector<Process> children = children_of(machine.monitor());
    const Process* const blk = find_by_name(children, "bulkhead-blk");
    if (blk != nullptr && blk->pid != last.pid && filters(blk) > filters(find_by_name(children, "bulkhead-spawner")))
      return *blk;
    std::this_thread::sleep_for(Seconds(0.005));
  }
  throw std::runtime_error("no other back end");
}

}  // namespace

std::vector<std::string> wrong_of_vcpu_host(const VcpuHostThread& thread, const std::vector<Call>& calls) {
  return complaints(calls, [&](const Call& call) {
    VcpuHost victim;
    std::string wrong = complaint(call, hijack(threads_of(victim.pid()).at(thread.index), call));
    return wrong.empty() ? victim.wrong_end(call) : wrong;
  });
}

std::vector<Call> requests_of_vcpu_host(const VcpuHostThread& thread) {
  const VcpuHost victim;
  std::vector<Call> calls = requests(victim.pid());
  for (const auto& [fd, file] : descriptors_of(victim.pid()))
    if (const std::string vcpu = "anon_inode:kvm-vcpu:"; file.starts_with(vcpu))
      if (kFirstVcpu.index + std::stoul(file.substr(vcpu.size())) != thread.index)
        calls.push_back({SYS_ioctl, {fd, KVM_RUN}});
  return calls;
}

std::string try_on_monitor(const Call& call) {
  Confined victim;
  std::string wrong = complaint(call, hijack(victim.pid(), call));
  return wrong.empty() ? victim.wrong_end(128 + SIGSYS) : wrong;
}

std::vector<Call> requests_of_monitor() {
  return requests(Confined().pid());
}

std::string cause(const Call& call) {
  return std::string(kKilled) + ": its policy does not list " + name_of(call) + " so";
}

std::vector<std::string> refused_to_spawner(const std::vector<Call>& calls) {
  constexpr support::Fate kRefused{support::Fate::Kind::Returned, -EPERM};
  Confined victim;
  std::vector<std::string> wrong;
  for (const Call& call : calls)
    if (const auto fate = hijack(victim.spawner(), call); fate != kRefused) wrong.push_back(complaint(call, fate));
  victim.power_off();
  if (std::string why = victim.wrong_end(kPoweredOff); !why.empty()) wrong.push_back(std::move(why));
  return wrong;
}

std::string try_on_spawner(const Call& call) {
  Confined victim;
  std::string wrong = complaint(call, hijack(victim.spawner(), call));
  return wrong.empty() ? victim.wrong_end(kChildLost) : wrong;
}

Tried try_on_blk(const std::vector<Call>& calls) {
  Loaded machine("split");
  std::vector<std::string> wrong;
  Process last{};
  for (const Call& call : calls) {
    last = next_sealed(machine, last);
    std::this_thread::sleep_for(Seconds(0.1));  // one that is lost sooner is replaced later
    if (std::string why = complaint(call, hijack(last.pid, call)); !why.empty()) {
      wrong.push_back(std::move(why));
      last = {};  // it is the next one's victim too
    } else if (!gone({last})) {
      wrong.push_back(name_of(call) + ": the thread died, its process did not");
    }
  }
  next_sealed(machine, last);
  std::string told = machine.finish().told;
  // Of the first few losses it tells how each was.
  for (std::size_t i = 0; i < std::min(calls.size(), kToldOf); ++i)
    if (std::ranges::none_of(causes(calls[i]), [&](const std::string& why) {
          return told.find("bulkhead: vm: blk0: lost (" + why + "), and back after ") != std::string::npos;
        }))
      wrong.push_back("nothing of " + name_of(calls[i]) + " in: " + told);
  return {std::move(wrong), std::move(told)};
}

}  // namespace hijacked
