#include "monitor/resources.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "ipc/file_lock.h"

namespace monitor {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;

namespace {

constexpr std::uint64_t kSectorBytes = 512;
// The children of a monitor that was killed have its disks' locks until they are gone too, within a second.
constexpr std::chrono::milliseconds kLockPatience{1000};

Result<UniqueFd> open_regular(const char* what, const std::string& path) {
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return ipc::system_failure(fmt::format("{} {}", what, path));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return ipc::system_failure(fmt::format("{} {}", what, path));
  if (!S_ISREG(status.st_mode)) return failure(0, fmt::format("{} {}: not a regular file", what, path));
  return file;
}

Result<std::uint64_t> size_of(const UniqueFd& file, const std::string& path) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return ipc::system_failure(fmt::format("disk {}", path));
  if (S_ISREG(status.st_mode)) return static_cast<std::uint64_t>(status.st_size);
  if (!S_ISBLK(status.st_mode))
    return failure(0, fmt::format("disk {}: neither a regular file nor a block device", path));
  std::uint64_t bytes = 0;
  if (::ioctl(file.get(), BLKGETSIZE64, &bytes) != 0) return ipc::system_failure(fmt::format("disk {}", path));
  return bytes;
}

Result<> lock(const UniqueFd& file, const DiskConfiguration& disk) {
  const auto locked = ipc::lock_file(file, disk.readonly ? ipc::Lock::Shared : ipc::Lock::Exclusive, kLockPatience);
  if (!locked && locked.error().code == EBUSY)
    return failure(0, fmt::format("disk {}: in use by another virtual machine or program (it is locked){}", disk.path,
                                  disk.readonly ? "" : "; readonly=on shares it between readers"));
  if (!locked) return failure(locked.error().code, fmt::format("lock disk {}", disk.path));
  return {};
}

// Whether direct I/O of single sectors is possible, as far as the kernel tells.
bool takes_sectors(const UniqueFd& direct) {
  struct statx status{};
  return direct && ::statx(direct.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
         (status.stx_mask & STATX_DIOALIGN) != 0 && status.stx_dio_offset_align > 0 &&
         status.stx_dio_offset_align <= kSectorBytes;
}

Result<Image> open_disk(const DiskConfiguration& disk) {
  const int mode = disk.readonly ? O_RDONLY : O_RDWR;
  // O_NONBLOCK: a fifo by that name must not keep us waiting. It has no meaning for files and block devices.
  UniqueFd file(::open(disk.path.c_str(), mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file && errno == EROFS)
    return failure(0, fmt::format("disk {}: it can't be written; readonly=on is right", disk.path));
  if (!file) return ipc::system_failure(fmt::format("disk {}", disk.path));
  const std::uint64_t bytes = TRY(size_of(file, disk.path));
  if (bytes == 0) return failure(0, fmt::format("disk {}: it is empty", disk.path));
  if (bytes % kSectorBytes != 0)
    return failure(0, fmt::format("disk {}: {} bytes, a multiple of {} is right", disk.path, bytes, kSectorBytes));
  TRY(lock(file, disk));
  UniqueFd direct;
  if (disk.cache != ipc::schema::Disk::Cache::WRITEBACK) {
    // By way of the descriptor: the path may name another file by now.
    direct = UniqueFd(::open(fmt::format("/proc/self/fd/{}", file.get()).c_str(), mode | O_CLOEXEC | O_DIRECT));
    if (!direct && disk.cache == ipc::schema::Disk::Cache::DIRECT)
      return ipc::system_failure(fmt::format("disk {}: cache=direct", disk.path));
    // Larger blocks than the guest has been shown would make another disk of it.
    if (disk.cache == ipc::schema::Disk::Cache::AUTO && !takes_sectors(direct)) direct = UniqueFd();
  }
  return Image{std::move(file), std::move(direct), bytes};
}

}  // namespace

Result<Images> open_images(const Configuration& configuration) {
  Images images;
  images.kernel = TRY(open_regular("kernel", configuration.kernel));
  if (!configuration.initrd.empty()) images.initrd = TRY(open_regular("initial RAM disk", configuration.initrd));
  for (const DiskConfiguration& disk : configuration.disks) images.disks.push_back(TRY(open_disk(disk)));
  return images;
}

Result<UniqueFd> make_ram(std::uint32_t mib) {
  UniqueFd ram(::memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!ram) return ipc::system_failure("make guest RAM");
  if (::ftruncate(ram.get(), static_cast<off_t>(mib) << 20) != 0)
    return ipc::system_failure(fmt::format("make guest RAM of {} MiB", mib));
  if (::fcntl(ram.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return ipc::system_failure("seal guest RAM");
  return ram;
}

Result<> check_memory(std::uint32_t mib) {
  struct sysinfo host{};
  if (::sysinfo(&host) != 0) return ipc::system_failure("ask for the size of the host's memory");
  const std::uint64_t host_mib = host.totalram * host.mem_unit >> 20;
  if (mib > host_mib) return failure(0, fmt::format("memory: {} MiB, but this host has {} MiB", mib, host_mib));
  return {};
}

Result<> check_isolation(const Configuration& configuration, const sandbox::Protections& offered) {
  const auto layers = sandbox::layers(offered);
  for (const auto required : configuration.required) {
    if (static_cast<std::size_t>(required) >= layers.size()) return failure(EINVAL, "isolation: an unknown layer");
    const sandbox::Layer& layer = layers[static_cast<std::size_t>(required)];
    if (!layer.present) return failure(0, fmt::format("isolation: this host lacks {}: {}", layer.name, layer.detail));
  }
  if (offered.landlock_abi >= configuration.landlock_abi) return {};
  return failure(0, fmt::format("isolation: this host has Landlock ABI {}, not {}", offered.landlock_abi,
                                configuration.landlock_abi));
}

Result<UniqueFd> make_event() {
  UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return ipc::system_failure("make an eventfd");
  return event;
}

}  // namespace monitor
