// The machine that the operator asked for, checked as far as numbers and names can be.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ipc/error.h"
#include "ipc/ethernet_address.h"
#include "ipc/schema/machine.capnp.h"
#include "ipc/unique_fd.h"
#include "sandbox/cgroup.h"

namespace monitor {

inline constexpr std::size_t kMaxDevices = 31;  // slots of the PCI bus beside the host bridge

struct DiskConfiguration {
  std::string path;
  bool readonly = false;
  std::string serial;        // 1 to 20 bytes
  std::uint16_t queues = 1;  // 1 to schema::MAX_QUEUES
  ipc::schema::Disk::Cache cache = ipc::schema::Disk::Cache::AUTO;
};

struct DeviceConfiguration {
  std::string socket;
  std::uint16_t id = 0;      // 1 to 63
  std::uint16_t queues = 1;  // 1 to schema::MAX_QUEUES
};

struct TapConfiguration {
  std::string name;    // empty: the kernel finds one
  std::string bridge;  // empty: none
};
struct UserConfiguration {
  struct Forward {
    bool udp = false;
    std::uint16_t host = 0, guest = 0;  // ports, not 0
  };
  std::vector<Forward> forwards;
};
struct PairConfiguration {
  std::string path;
};

struct NetConfiguration {
  std::variant<TapConfiguration, UserConfiguration, PairConfiguration> way;
  ipc::EthernetAddress mac = {};  // unlike that of any other card
  std::uint16_t mtu = 0;          // 68 or more
  std::uint16_t queue_pairs = 1;  // 1 to schema::MAX_QUEUE_PAIRS
  bool own_mac_only = true;
  std::vector<std::string> ipv4 = {}, ipv6 = {};  // not yet looked at: the back end says what is none
  std::uint32_t flood = 0;
};

struct SerialStdio {};
struct SerialPty {};
struct SerialNone {};
struct SerialFile {
  std::string path;
};
using SerialConfiguration = std::variant<SerialStdio, SerialPty, SerialNone, SerialFile>;

struct Configuration {
  std::string name;
  std::uint16_t cpus = 1;        // 1 to schema::MAX_CPUS
  std::uint32_t memory_mib = 0;  // at least 16
  std::string kernel;
  std::string initrd;  // empty: none
  std::string cmdline;
  std::vector<DiskConfiguration> disks;
  std::vector<DeviceConfiguration> devices;
  std::vector<NetConfiguration> nets;
  SerialConfiguration serial;
  std::string control;  // folder; empty: none
  std::vector<ipc::schema::Isolation::Layer> required;
  int landlock_abi = 0;  // at least
  sandbox::CgroupLimits limits;
  std::string cgroup;  // in which the machine's own is made; empty: the usual one
};

// EINVAL with one line that names the field and what would be right.
ipc::Result<Configuration> check(ipc::schema::Machine::Reader machine);

// The message in `file` (at most 1 MiB), as the command line wrote it, checked.
ipc::Result<Configuration> read_configuration(const ipc::UniqueFd& file);

}  // namespace monitor
