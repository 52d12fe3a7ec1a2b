// Whose rights a process of a machine has.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <cstdint>
#include <optional>

namespace sandbox {

// Neither may be 0. Distinct for every process of Bulkhead on the host: processes of one uid could trace each other.
struct Identity {
  uid_t uid;
  gid_t gid;
};

// A machine's processes are numbered; the last number is its monitor's.
inline constexpr unsigned kIdentities = 64;
inline constexpr unsigned kMonitorIdentity = kIdentities - 1;

// Unique among the machines of this host while the monitor lives, as its pid is: see docs/architecture.md. Nothing
// where we are not root. `number` is below kIdentities.
inline std::optional<Identity> identity_of(pid_t monitor, unsigned number) {
  constexpr uid_t kFirstUid = 0x70000000;
  if (::geteuid() != 0) return std::nullopt;
  const uid_t id = kFirstUid + static_cast<uid_t>(monitor) * kIdentities + number;
  return Identity{id, id};
}

}  // namespace sandbox
