// Where a disk's data is: a raw image file, a block device, or nowhere at all (for measuring).
#pragma once

#include <chrono>
#include <cstdint>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace blk {

inline constexpr std::uint32_t kSectorBytes = 512;  // virtio 1.2, 5.2: sectors are always of this size

enum class Writes : std::uint8_t { Allowed, Refused };

// Shape of the disk as the driver is told (virtio 1.2, 5.2.4), and the descriptors that its I/O goes to.
class Storage {
 public:
  // How the bytes are moved.
  enum class Kind : std::uint8_t {
    File,      // by the engine, where it can
    InMemory,  // by plain calls: a file that is kept in memory makes nobody wait
    Null,      // not at all
  };

  // What I/O past the page cache asks of each operation: both are powers of two.
  struct Alignment {
    std::uint32_t memory = 1;  // of each buffer's address and length
    std::uint32_t offset = 1;  // of where it starts, and of its length
  };

  // Takes an open image, whose size now is the disk's size from now on. EINVAL for what is no file or
  // block device, is empty or no multiple of 512 bytes long; EACCES if it was not opened for reading,
  // or not for writing where `writes` are allowed. The context says what would be right.
  static ipc::Result<Storage> adopt(ipc::UniqueFd image, Writes writes);
  // A disk of `bytes` that forgets what is written and reads as whatever was in the buffer. EINVAL as above.
  static ipc::Result<Storage> null(std::uint64_t bytes, Writes writes);

  // I/O goes to `direct` from now on, the same image opened with O_DIRECT, save for what is not aligned
  // as that needs. EINVAL if it is another file, not open like that, or its file system cannot do so.
  ipc::Result<> go_direct(ipc::UniqueFd direct);

  // Keeps other processes from writing the image, or from anything but reading it (OFD locks), and takes its size
  // anew. EBUSY if another process has not let go of it within `patience`.
  ipc::Result<> lock(std::chrono::milliseconds patience);
  void unlock();

  // Takes the image's size anew: true if it has grown. EINVAL, and nothing changes, if it has shrunk or
  // its size is no multiple of logical_block().
  ipc::Result<bool> grow();

  Kind kind() const { return kind_; }
  bool direct() const { return static_cast<bool>(direct_); }
  const Alignment& alignment() const { return alignment_; }  // of direct() I/O
  // Where I/O goes, and where what is not aligned goes. For Kind::Null a descriptor that nothing goes to.
  const ipc::UniqueFd& file() const { return direct_ ? direct_ : file_; }
  const ipc::UniqueFd& buffered_file() const { return file_; }

  std::uint64_t sectors() const { return sectors_; }
  bool read_only() const { return writes_ == Writes::Refused; }
  std::uint32_t logical_block() const { return logical_block_; }    // bytes, a power of two, at least 512
  std::uint32_t physical_block() const { return physical_block_; }  // bytes, a power of two, at least logical_block()

 private:
  Storage() = default;
  Kind kind_ = Kind::File;
  ipc::UniqueFd file_;    // through the page cache
  ipc::UniqueFd direct_;  // past it; may be empty
  Alignment alignment_;
  std::uint64_t sectors_ = 0;
  Writes writes_ = Writes::Refused;
  std::uint32_t logical_block_ = kSectorBytes;
  std::uint32_t physical_block_ = kSectorBytes;
};

}  // namespace blk
