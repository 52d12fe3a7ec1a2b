// Which pages of guest memory the device has written: a bitmap that the front end shares for the time of
// a live migration (vhost-user.rst, "Migration").
#pragma once

#include <cstdint>
#include <span>

#include "backends/virtio/memory_table.h"
#include "ipc/mapping.h"

namespace virtio {

class DirtyLog {
 public:
  // The bitmap of `size` bytes at `offset` of `file` (borrowed). EINVAL if that is empty or leaves the
  // file; EPERM, where sealing is required, for a file that is no memfd sealed against shrinking.
  static ipc::Result<DirtyLog> map(const ipc::UniqueFd& file, std::uint64_t offset, std::uint64_t size,
                                   Sealing sealing);

  bool covers(const GuestRange& range) const;
  // After the write, and before the driver can know of it. What the log does not cover is left out.
  void mark(const GuestRange& range) const;

 private:
  DirtyLog() = default;
  ipc::Mapping mapping_;
  std::span<std::uint8_t> bitmap_;  // of the mapping
};

}  // namespace virtio
