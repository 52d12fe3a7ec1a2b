#include "monitor/configuration.h"

#include <capnp/serialize.h>
#include <sys/stat.h>

#include <algorithm>

#include "ipc/control_channel.h"
#include "monitor/net_configuration.h"

namespace monitor {

using ipc::failure;
using ipc::Result;
namespace schema = ipc::schema;

namespace {

constexpr std::size_t kMaxMessageBytes = 1 << 20;
constexpr std::size_t kMaxNameBytes = 64;
constexpr std::size_t kMaxSerialBytes = 20;  // virtio 1.2, 5.2.6.1: VIRTIO_BLK_ID_BYTES
constexpr std::size_t kMaxCmdlineBytes = 2047;
constexpr std::uint32_t kMinMemoryMib = 16;
constexpr std::uint32_t kBesideRamMib = 64;
constexpr std::uint16_t kDefaultQueueLimit = 16;
constexpr std::uint16_t kMaxVirtioId = 63;  // PCI device ids of modern devices are 0x1040 + id, up to 0x107f

std::unexpected<ipc::Error> invalid(std::string what) {
  return failure(0, std::move(what));
}

Result<std::string> check_name(std::string name) {
  if (name.empty()) return std::string("vm");
  const bool good = name.size() <= kMaxNameBytes && std::ranges::all_of(name, [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                             c == '_' || c == '-';
                    });
  if (!good) return invalid(fmt::format("name: 1 to {} of the characters A-Z a-z 0-9 . _ - are right", kMaxNameBytes));
  return name;
}

Result<DiskConfiguration> check_disk(schema::Disk::Reader disk, std::size_t index, std::uint16_t cpus) {
  DiskConfiguration result{.path = std::string(disk.getPath()),
                           .readonly = disk.getReadonly(),
                           .serial = std::string(disk.getSerial()),
                           .queues = disk.getQueues(),
                           .cache = disk.getCache()};
  if (result.path.empty()) return invalid(fmt::format("disk {}: it has no path", index));
  if (result.serial.size() > kMaxSerialBytes)
    return invalid(fmt::format("disk {}: serial number of {} bytes, at most {} are right", result.path,
                               result.serial.size(), kMaxSerialBytes));
  if (result.queues > schema::MAX_QUEUES)
    return invalid(
        fmt::format("disk {}: {} queues, at most {} are right", result.path, result.queues, +schema::MAX_QUEUES));
  if (result.serial.empty()) result.serial = fmt::format("disk{}", index);
  if (result.queues == 0) result.queues = std::min(cpus, kDefaultQueueLimit);
  return result;
}

Result<DeviceConfiguration> check_device(schema::Device::Reader device, std::size_t index) {
  DeviceConfiguration result{
      .socket = std::string(device.getSocket()), .id = device.getId(), .queues = device.getQueues()};
  if (result.socket.empty()) return invalid(fmt::format("device {}: it has no socket", index));
  if (result.id == 0 || result.id > kMaxVirtioId)
    return invalid(fmt::format("device {}: virtio id {}, 1 to {} are right (2 is a disk)", result.socket, result.id,
                               kMaxVirtioId));
  if (result.queues == 0 || result.queues > schema::MAX_QUEUES)
    return invalid(
        fmt::format("device {}: {} queues, 1 to {} are right", result.socket, result.queues, +schema::MAX_QUEUES));
  return result;
}

Result<SerialConfiguration> check_serial(schema::Serial::Reader serial) {
  switch (serial.which()) {
    case schema::Serial::STDIO:
      return SerialStdio{};
    case schema::Serial::PTY:
      return SerialPty{};
    case schema::Serial::NONE:
      return SerialNone{};
    case schema::Serial::FILE:
      if (serial.getFile().size() == 0) return invalid("serial: the file has no path");
      return SerialFile{std::string(serial.getFile())};
  }
  return invalid("serial: stdio, pty, none or file=PATH are right");
}

}  // namespace

Result<Configuration> check(schema::Machine::Reader machine) {
  Configuration result;
  result.name = TRY(check_name(std::string(machine.getName())));
  result.cpus = machine.getCpus();
  if (result.cpus == 0 || result.cpus > schema::MAX_CPUS)
    return invalid(fmt::format("cpus: {} virtual CPUs, 1 to {} are right", result.cpus, +schema::MAX_CPUS));
  result.memory_mib = machine.getMemoryMib();
  if (result.memory_mib < kMinMemoryMib)
    return invalid(fmt::format("memory: {} MiB, at least {} are right", result.memory_mib, kMinMemoryMib));
  result.kernel = std::string(machine.getKernel());
  if (result.kernel.empty())
    return invalid("kernel: none given; a Linux bzImage or an ELF image with a PVH note is right");
  result.initrd = std::string(machine.getInitrd());
  result.cmdline = std::string(machine.getCmdline());
  if (result.cmdline.size() > kMaxCmdlineBytes)
    return invalid(fmt::format("cmdline: {} bytes, at most {} are right", result.cmdline.size(), kMaxCmdlineBytes));
  const std::size_t devices = machine.getDisks().size() + machine.getNets().size() + machine.getDevices().size();
  if (devices > kMaxDevices)
    return invalid(
        fmt::format("disks, network cards and devices: {} of them, at most {} are right", devices, kMaxDevices));
  for (const auto disk : machine.getDisks())
    result.disks.push_back(TRY(check_disk(disk, result.disks.size(), result.cpus)));
  result.nets = TRY(check_nets(machine.getNets(), result.name));
  for (const auto device : machine.getDevices())
    result.devices.push_back(TRY(check_device(device, result.devices.size())));
  result.serial = TRY(check_serial(machine.getSerial()));
  result.control = std::string(machine.getControl());
  for (const auto layer : machine.getIsolation().getRequire()) result.required.push_back(layer);
  result.landlock_abi = machine.getIsolation().getLandlockAbi();
  const auto limits = machine.getLimits();
  result.limits = {limits.getMemoryMib(), limits.getProcesses(), limits.getCpuPercent(), limits.getIoWeight()};
  if (result.limits.memory_mib != 0 && result.limits.memory_mib < std::uint64_t{result.memory_mib} + kBesideRamMib)
    return invalid(fmt::format("limits: {} MiB of memory, at least the guest's {} and {} for its processes are right",
                               result.limits.memory_mib, result.memory_mib, kBesideRamMib));
  result.cgroup = std::string(limits.getCgroup());
  return result;
}

Result<Configuration> read_configuration(const ipc::UniqueFd& file) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return ipc::system_failure("the machine's description on descriptor 3");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0 || size > kMaxMessageBytes || size % sizeof(capnp::word) != 0)
    return failure(EINVAL, "the machine's description on descriptor 3");
  auto words = kj::heapArray<capnp::word>(size / sizeof(capnp::word));
  if (::pread(file.get(), words.begin(), size, 0) != static_cast<ssize_t>(size))
    return ipc::system_failure("read the machine's description");
  return ipc::guarded([&]() -> Result<Configuration> {
    capnp::FlatArrayMessageReader reader(words);
    return check(reader.getRoot<schema::Machine>());
  });
}

}  // namespace monitor
