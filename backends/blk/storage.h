// Where a disk's data is: a raw image file or a block device.
#pragma once

#include <cstdint>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace blk {

inline constexpr std::uint32_t kSectorBytes = 512;  // virtio 1.2, 5.2: sectors are always of this size

enum class Writes : std::uint8_t { Allowed, Refused };

// Shape of the disk as the driver is told (virtio 1.2, 5.2.4), and the descriptor that its I/O goes to.
class Storage {
 public:
  // Takes an open image, whose size now is the disk's size from now on. EINVAL for what is no file or
  // block device, is empty or no multiple of 512 bytes long; EACCES if it was not opened for reading,
  // or not for writing where `writes` are allowed. The context says what would be right.
  static ipc::Result<Storage> adopt(ipc::UniqueFd image, Writes writes);

  // Takes the image's size anew: true if it has grown. EINVAL, and nothing changes, if it has shrunk or
  // its size is no multiple of logical_block().
  ipc::Result<bool> grow();

  const ipc::UniqueFd& file() const { return file_; }
  std::uint64_t sectors() const { return sectors_; }
  bool read_only() const { return writes_ == Writes::Refused; }
  std::uint32_t logical_block() const { return logical_block_; }    // bytes, a power of two, at least 512
  std::uint32_t physical_block() const { return physical_block_; }  // bytes, a power of two, at least logical_block()

 private:
  Storage() = default;
  ipc::UniqueFd file_;
  std::uint64_t sectors_ = 0;
  Writes writes_ = Writes::Refused;
  std::uint32_t logical_block_ = kSectorBytes;
  std::uint32_t physical_block_ = kSectorBytes;
};

}  // namespace blk
