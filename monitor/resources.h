// What a machine needs of its host, opened by the monitor with the operator's rights: the only place
// where a path becomes a descriptor.
#pragma once

#include <optional>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "monitor/configuration.h"
#include "sandbox/seal.h"

namespace monitor {

struct Image {
  ipc::UniqueFd file;    // locked against a second writer for as long as any duplicate of it is open
  ipc::UniqueFd direct;  // the same, open for direct I/O; empty: it goes through the page cache
  std::uint64_t bytes;   // a multiple of 512, not 0
};

// What lasts over a guest's reboots.
struct Images {
  ipc::UniqueFd kernel;
  std::optional<ipc::UniqueFd> initrd;
  std::vector<Image> disks;
};

// Errors are one line that names the path and what is wrong with it.
ipc::Result<Images> open_images(const Configuration& configuration);

// Guest RAM: a memfd that can neither grow nor shrink.
ipc::Result<ipc::UniqueFd> make_ram(std::uint32_t mib);

// Whether the host has that much at all.
ipc::Result<> check_memory(std::uint32_t mib);

// Whether the host has what `configuration` requires of a child's isolation. EINVAL for what there is not at all.
ipc::Result<> check_isolation(const Configuration& configuration, const sandbox::Protections& offered);

// A non-blocking eventfd, for a doorbell or an interrupt.
ipc::Result<ipc::UniqueFd> make_event();

}  // namespace monitor
