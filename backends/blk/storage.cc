#include "backends/blk/storage.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>

namespace blk {
namespace {

// A block size that the kernel told, or the smallest if it makes no sense.
std::uint32_t sane_block(std::uint32_t bytes, std::uint32_t smallest) {
  return std::has_single_bit(bytes) ? std::max(bytes, smallest) : smallest;
}

}  // namespace

ipc::Result<Storage> Storage::adopt(ipc::UniqueFd image, Writes writes) {
  const int flags = ::fcntl(image.get(), F_GETFL);
  if (flags < 0) return ipc::system_failure("disk image: no open file");
  const int mode = flags & O_ACCMODE;
  if (mode == O_WRONLY || (flags & O_PATH) != 0) return ipc::failure(EACCES, "disk image: it must be open for reading");
  if (writes == Writes::Allowed && mode != O_RDWR)
    return ipc::failure(EACCES, "disk image: open for reading only, so the disk must be readonly=on");

  struct stat status{};
  if (::fstat(image.get(), &status) != 0) return ipc::system_failure("disk image: cannot be examined");
  Storage storage;
  if (S_ISBLK(status.st_mode)) {
    int logical = 0;
    unsigned physical = 0;
    if (::ioctl(image.get(), BLKSSZGET, &logical) != 0 || ::ioctl(image.get(), BLKPBSZGET, &physical) != 0)
      return ipc::system_failure("disk image: the block device does not tell its block size");
    storage.logical_block_ = sane_block(static_cast<std::uint32_t>(logical), kSectorBytes);
    storage.physical_block_ = sane_block(physical, storage.logical_block_);
  } else if (S_ISREG(status.st_mode)) {
    // Any multiple of 512 is served; the file system's block is what is efficient.
    storage.physical_block_ = sane_block(static_cast<std::uint32_t>(status.st_blksize), kSectorBytes);
  } else {
    return ipc::failure(EINVAL, "disk image: neither a regular file nor a block device");
  }

  const off_t size = ::lseek(image.get(), 0, SEEK_END);
  if (size < 0) return ipc::system_failure("disk image: its size cannot be told");
  if (size == 0) return ipc::failure(EINVAL, "disk image: empty, a multiple of 512 bytes is right");
  if (size % kSectorBytes != 0)
    return ipc::failure(EINVAL, fmt::format("disk image: {} bytes long, a multiple of 512 is right (the next is {})",
                                            size, (size / kSectorBytes + 1) * kSectorBytes));
  if (size % storage.logical_block_ != 0)
    return ipc::failure(EINVAL,
                        fmt::format("disk image: {} bytes long, a multiple of the device's block of {} is right", size,
                                    storage.logical_block_));
  storage.file_ = std::move(image);
  storage.sectors_ = static_cast<std::uint64_t>(size) / kSectorBytes;
  storage.writes_ = writes;
  return storage;
}

ipc::Result<bool> Storage::grow() {
  const off_t size = ::lseek(file_.get(), 0, SEEK_END);
  if (size < 0) return ipc::system_failure("disk image: its size cannot be told");
  const std::uint64_t sectors = static_cast<std::uint64_t>(size) / kSectorBytes;
  if (size % logical_block_ != 0 || sectors < sectors_)
    return ipc::failure(EINVAL, fmt::format("disk image: {} bytes long now, where at least {} and a multiple of {} is "
                                            "right; the disk stays as it was",
                                            size, sectors_ * kSectorBytes, logical_block_));
  return std::exchange(sectors_, sectors) != sectors;
}

}  // namespace blk
