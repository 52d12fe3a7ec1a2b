#include "sandbox/seal.h"

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <iterator>

#include "ipc/unique_fd.h"

namespace sandbox {
namespace {

using ipc::Result;

// Newer than the reference distribution's headers.
[[maybe_unused]] constexpr int kSetMdwe = 65;  // PR_SET_MDWE
constexpr int kGetMdwe = 66;
[[maybe_unused]] constexpr unsigned long kRefuseExecGain = 1;
[[maybe_unused]] constexpr int kSetMemoryMerge = 67;  // PR_SET_MEMORY_MERGE, Linux 6.4

constexpr std::uint32_t kAskVersion = 1;  // LANDLOCK_CREATE_RULESET_VERSION

enum class CoreScheduling : std::uint8_t { Unknown, NoSiblings, Shared, Own };

// Documentation/admin-guide/hw-vuln/core-scheduling.rst.
CoreScheduling core_scheduling() {
  unsigned long cookie = 0;
  if (::prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, 0, PR_SCHED_CORE_SCOPE_THREAD, &cookie) != 0)
    return errno == ENODEV ? CoreScheduling::NoSiblings : CoreScheduling::Unknown;
  return cookie == 0 ? CoreScheduling::Shared : CoreScheduling::Own;
}

struct LandlockRuleset {  // struct landlock_ruleset_attr
  std::uint64_t files;
  std::uint64_t network;
  std::uint64_t scopes;
};

// What each ABI version lets a ruleset deny. A kernel refuses bits, and bytes that are not 0, that it
// does not know; versions above the last add nothing that we ask for.
struct LandlockVersion {
  int abi;
  LandlockRuleset handled;
  std::string_view covers;
};
constexpr LandlockVersion kLandlockVersions[] = {
    {1, {(1u << 13) - 1, 0, 0}, "files"},
    {2, {(1u << 14) - 1, 0, 0}, "files"},       // and linking across directories
    {3, {(1u << 15) - 1, 0, 0}, "files"},       // and truncation
    {4, {(1u << 15) - 1, 3, 0}, "files, TCP"},  // bind, connect
    {5, {(1u << 16) - 1, 3, 0}, "files, TCP"},  // and ioctl on devices
    {6, {(1u << 16) - 1, 3, 3}, "files, TCP, abstract sockets, signals"},
};

const LandlockVersion* landlock_version(int abi) {
  const LandlockVersion* best = nullptr;
  for (const LandlockVersion& version : kLandlockVersions)
    if (version.abi <= abi) best = &version;
  return best;
}

std::uint16_t landlock_abi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kAskVersion);
  return abi < 0 ? 0 : static_cast<std::uint16_t>(abi);
}

#ifndef BULKHEAD_SANITIZED

// A ruleset without a rule: all that it handles is denied.
Result<> restrict_by_landlock(const LandlockVersion& version) {
  const ipc::UniqueFd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &version.handled, sizeof version.handled, 0)));
  if (!ruleset) return ipc::system_failure("landlock_create_ruleset");
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    return ipc::system_failure("landlock_restrict_self");
  return {};
}

#endif

}  // namespace

Protections supported_protections() {
  const std::uint32_t action = SECCOMP_RET_KILL_PROCESS;
  return {
      .no_new_privs = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0,
      .not_dumpable = ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) >= 0,
      .deny_write_execute = ::prctl(kGetMdwe, 0, 0, 0, 0) >= 0,
      .landlock_abi = landlock_abi(),
      .seccomp_kill_process = ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0,
      .core_scheduling = core_scheduling() != CoreScheduling::Unknown,
  };
}

Result<> own_core() {
  if (core_scheduling() != CoreScheduling::Shared) return {};
  if (::prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_THREAD_GROUP, 0) != 0)
    return ipc::system_failure("prctl(SCHED_CORE)");
  return {};
}

#ifdef BULKHEAD_SANITIZED

Result<Protections> lock_down() {
  return Protections{};
}

#else

Result<Protections> lock_down() {
  const Protections protections = supported_protections();
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return ipc::system_failure("prctl(NO_NEW_PRIVS)");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ipc::system_failure("prctl(DUMPABLE)");
  if (protections.deny_write_execute && ::prctl(kSetMdwe, kRefuseExecGain, 0, 0, 0) != 0)
    return ipc::system_failure("prctl(MDWE)");
  TRY(own_core());  // a child of the monitor has its machine's already
  // What a caller may have left us. Shared pages tell one tenant, by the time that a write takes, what another has. A
  // kernel that does not know it merges what madvise(2) names alone, and no policy has that.
  if (::prctl(kSetMemoryMerge, 0, 0, 0, 0) != 0 && errno != EINVAL) return ipc::system_failure("prctl(MEMORY_MERGE)");
  if (const LandlockVersion* version = landlock_version(protections.landlock_abi)) TRY(restrict_by_landlock(*version));
  return protections;
}

#endif

std::vector<Layer> layers(const Protections& protections) {
  const LandlockVersion* landlock = landlock_version(protections.landlock_abi);
  return {
      {"no new privileges", protections.no_new_privs, ""},
      {"not dumpable", protections.not_dumpable, ""},
      {"deny write and execute", protections.deny_write_execute,
       protections.deny_write_execute ? "" : "needs Linux 6.3"},
      {"Landlock", landlock != nullptr,
       landlock != nullptr ? fmt::format("ABI {}: {}", protections.landlock_abi, landlock->covers)
                           : "needs Linux 5.13 with landlock among its LSMs"},
      {"seccomp", protections.seccomp_kill_process, protections.seccomp_kill_process ? "" : "needs Linux 4.14"},
      {"core scheduling", protections.core_scheduling,
       protections.core_scheduling ? "" : "needs Linux 5.14 with core scheduling"},
  };
}

std::uint32_t layer_bits(const Protections& protections) {
  std::uint32_t bits = 0, bit = 1;
  for (const Layer& layer : layers(protections)) {
    if (layer.present) bits |= bit;
    bit <<= 1;
  }
  return bits;
}

}  // namespace sandbox
