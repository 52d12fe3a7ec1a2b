// Every seccomp policy of the project, with what the tests put behind its slots.
#pragma once

#include <array>
#include <string_view>

#include "ipc/unique_fd.h"
#include "sandbox/policy/blk.h"
#include "sandbox/policy/monitor.h"
#include "sandbox/policy/net.h"
#include "sandbox/policy/vcpu_host.h"
#include "sandbox/seccomp.h"

namespace support {

using sandbox::BlkIo;
using sandbox::Role;

struct NamedPolicy {
  std::string_view name;
  sandbox::Policy rules;
};

inline const std::array kPolicies = {
    NamedPolicy{"blk", blk_policy(Role::Monitored, BlkIo::Ring)},
    NamedPolicy{"blk, memory", blk_policy(Role::Monitored, BlkIo::RingAndCalls)},
    NamedPolicy{"blk, no io_uring", blk_policy(Role::Monitored, BlkIo::Calls)},
    NamedPolicy{"blk standalone", blk_policy(Role::Standalone, BlkIo::Ring)},
    NamedPolicy{"blk standalone, memory", blk_policy(Role::Standalone, BlkIo::RingAndCalls)},
    NamedPolicy{"blk standalone, no io_uring", blk_policy(Role::Standalone, BlkIo::Calls)},
    NamedPolicy{"blk worker", blk_policy(Role::Worker, BlkIo::Ring)},
    NamedPolicy{"blk worker, memory", blk_policy(Role::Worker, BlkIo::RingAndCalls)},
    NamedPolicy{"blk worker, no io_uring", blk_policy(Role::Worker, BlkIo::Calls)},
    NamedPolicy{"blk standalone, pinned memory", blk_policy(Role::Standalone, BlkIo::PinnedRing)},
    NamedPolicy{"blk worker, pinned memory", blk_policy(Role::Worker, BlkIo::PinnedRing)},
    NamedPolicy{"net", net_policy(Role::Monitored, true)},
    NamedPolicy{"net, no io_uring", net_policy(Role::Monitored, false)},
    NamedPolicy{"net standalone", net_policy(Role::Standalone, true)},
    NamedPolicy{"net standalone, no io_uring", net_policy(Role::Standalone, false)},
    NamedPolicy{"net worker", net_policy(Role::Worker, true)},
    NamedPolicy{"net worker, no io_uring", net_policy(Role::Worker, false)},
    NamedPolicy{"keeper", sandbox::kKeeperPolicy},
    NamedPolicy{"redial", sandbox::kRedialPolicy},
    NamedPolicy{"vcpu", sandbox::kVcpuPolicy},
    NamedPolicy{"event loop", sandbox::kEventLoopPolicy},
    NamedPolicy{"monitor", sandbox::kMonitorPolicy},
};

// Numbers at which a test has nothing open: only what the filter compares.
inline sandbox::Slots all_slots() {
  sandbox::Slots slots;
  int number = 800;
  for (const auto slot : {sandbox::Slot::Ring, sandbox::Slot::Vm, sandbox::Slot::Vcpu, sandbox::Slot::ExitEvent,
                          sandbox::Slot::Listener, sandbox::Slot::Directory, sandbox::Slot::Image,
                          sandbox::Slot::Unaligned, sandbox::Slot::Events, sandbox::Slot::ControlListener}) {
    ipc::UniqueFd borrowed(number++);
    slots.set(slot, borrowed);
    static_cast<void>(borrowed.release());
  }
  return slots;
}

}  // namespace support
