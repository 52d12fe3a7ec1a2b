#include "backends/blk/storage.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <bit>

#include "ipc/file_lock.h"

namespace blk {
namespace {

// A block size that the kernel told, or the smallest if it makes no sense.
std::uint32_t sane_block(std::uint32_t bytes, std::uint32_t smallest) {
  return std::has_single_bit(bytes) ? std::max(bytes, smallest) : smallest;
}

bool kept_in_memory(const ipc::UniqueFd& file) {
  struct statfs status{};
  if (::fstatfs(file.get(), &status) != 0) return false;
  return status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC || status.f_type == HUGETLBFS_MAGIC;
}

ipc::Result<> check_size(std::uint64_t bytes) {
  if (bytes == 0) return ipc::failure(EINVAL, "disk image: empty, a multiple of 512 bytes is right");
  if (bytes % kSectorBytes != 0)
    return ipc::failure(EINVAL, fmt::format("disk image: {} bytes long, a multiple of 512 is right (the next is {})",
                                            bytes, (bytes / kSectorBytes + 1) * kSectorBytes));
  return {};
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
  TRY(check_size(static_cast<std::uint64_t>(size)));
  if (size % storage.logical_block_ != 0)
    return ipc::failure(EINVAL,
                        fmt::format("disk image: {} bytes long, a multiple of the device's block of {} is right", size,
                                    storage.logical_block_));
  if (kept_in_memory(image)) storage.kind_ = Kind::InMemory;
  storage.file_ = std::move(image);
  storage.sectors_ = static_cast<std::uint64_t>(size) / kSectorBytes;
  storage.writes_ = writes;
  return storage;
}

ipc::Result<Storage> Storage::null(std::uint64_t bytes, Writes writes) {
  TRY(check_size(bytes));
  Storage storage;
  storage.kind_ = Kind::Null;
  storage.file_ = ipc::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));  // what a policy can be pinned to
  if (!storage.file_) return ipc::system_failure("/dev/null");
  storage.sectors_ = bytes / kSectorBytes;
  storage.writes_ = writes;
  return storage;
}

ipc::Result<> Storage::go_direct(ipc::UniqueFd direct) {
  struct stat ours{};
  struct stat theirs{};
  if (::fstat(file_.get(), &ours) != 0 || ::fstat(direct.get(), &theirs) != 0)
    return ipc::system_failure("disk image: cannot be examined");
  const bool same = ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
  const int flags = ::fcntl(direct.get(), F_GETFL);
  const int mode = read_only() ? flags & O_ACCMODE & O_WRONLY : (flags & O_ACCMODE) ^ O_RDWR;
  if (!same || flags < 0 || (flags & O_DIRECT) == 0 || mode != 0)
    return ipc::failure(EINVAL, "disk image: what was opened for direct I/O is not the same image");

  struct statx status{};
  if (::statx(direct.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) != 0)
    return ipc::system_failure("disk image: cannot be examined");
  Alignment alignment;
  if ((status.stx_mask & STATX_DIOALIGN) != 0) {
    if (status.stx_dio_offset_align == 0)
      return ipc::failure(EINVAL, "disk image: its file system has no direct I/O for it");
    alignment = {sane_block(status.stx_dio_mem_align, 1), sane_block(status.stx_dio_offset_align, kSectorBytes)};
  } else {  // a kernel that does not tell: what every device takes
    const std::uint32_t block = S_ISBLK(ours.st_mode) ? logical_block_ : std::uint32_t{4096};
    alignment = {block, block};
  }
  // The driver does well to ask for whole blocks; where the disk has a part of one, its rest goes the other way.
  const std::uint64_t bytes = sectors_ * kSectorBytes;
  if (alignment.offset > logical_block_ && bytes % alignment.offset == 0) {
    logical_block_ = alignment.offset;
    physical_block_ = std::max(physical_block_, logical_block_);
  }
  alignment_ = alignment;
  direct_ = std::move(direct);
  return {};
}

ipc::Result<> Storage::lock(std::chrono::milliseconds patience) {
  if (kind_ == Kind::Null) return {};
  auto locked = ipc::lock_file(file_, read_only() ? ipc::Lock::Shared : ipc::Lock::Exclusive, patience);
  if (!locked && locked.error().code == EBUSY && !read_only())
    locked.error().context += "; with --read-only several can read it";
  TRY(std::move(locked));
  TRY(grow());
  return {};
}

void Storage::unlock() {
  if (kind_ != Kind::Null) ipc::unlock_file(file_);
}

ipc::Result<bool> Storage::grow() {
  if (kind_ == Kind::Null) return false;
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
