// A file that somebody else wrote and may still be writing: read by offset, never mapped.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ipc/error.h"
#include "ipc/guest_memory.h"
#include "ipc/unique_fd.h"

namespace vcpu_host {

class ImageFile {
 public:
  // `name` is what errors call it: "kernel". `fd` is borrowed and outlives the object. EINVAL if it is no
  // regular file (a pipe has no size, so nothing could be checked), ENOEXEC if it is empty.
  static ipc::Result<ImageFile> open(const ipc::UniqueFd& fd, std::string_view name);

  std::uint64_t size() const { return size_; }  // when it was opened, at least 1

  // All of `out` from `offset` on, or an error: ENOEXEC if the file has become shorter.
  ipc::Result<> read(std::uint64_t offset, std::span<std::byte> out) const;
  ipc::Result<> read(std::uint64_t offset, const ipc::GuestBuffer& out) const;

  // The error "NAME: what".
  std::unexpected<ipc::Error> error(int code, std::string_view what) const;

 private:
  ipc::Result<> read(std::uint64_t offset, iovec out) const;
  ImageFile(const ipc::UniqueFd& fd, std::string_view name, std::uint64_t size) : fd_(&fd), name_(name), size_(size) {}
  const ipc::UniqueFd* fd_;
  std::string name_;
  std::uint64_t size_;
};

// "812 MiB", "13 KiB", "5 bytes": rounded up, for people.
std::string size_text(std::uint64_t bytes);

}  // namespace vcpu_host
