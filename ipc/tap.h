// Taps: network interfaces of the host whose other end is a descriptor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace ipc {

// `name` as interfaces can be called: 1 to 15 bytes without '/' or blanks. EINVAL otherwise.
Result<> check_interface_name(const std::string& name);

struct Tap {
  std::string name;
  std::vector<UniqueFd> queues;
};

// Opens `queues` (at least 1) queues of the tap `name`, which is made if there is none, and then goes with its last
// descriptor; empty: the kernel finds a name. Frames come with a virtio-net header of 12 bytes, nothing left to their
// receiver. Non-blocking. EPERM where the caller may neither make a tap nor use this one, EBUSY where another process
// has it, ENOENT without /dev/net/tun.
Result<Tap> open_tap(const std::string& name, std::uint16_t queues);

}  // namespace ipc
