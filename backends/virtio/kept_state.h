// What a device keeps beside the rings' records in the in-flight region (vhost-user.rst, "Inflight I/O tracking": its
// content is the back end's own), so that a successor finds it whenever this process was killed. Two copies: one is
// whole while the other is written.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/virtio/device.h"

namespace virtio {

class KeptState {
 public:
  static constexpr std::size_t kBytes = 64 + 2 * (kMaxState + 64);

  KeptState() = default;  // nowhere: what is stored is forgotten
  // `region` has kBytes, aligned to 64, and must outlive it. One of zeros is new.
  explicit KeptState(std::span<std::byte> region) : region_(region) {}

  // What was last stored; empty if nothing was. As long as a front end cares to have it: trust none of it.
  std::vector<std::byte> load() const;
  // At most kMaxState bytes.
  void store(std::span<const std::byte> state);

 private:
  std::uint64_t& turn() const;  // how often was stored: odd or even says where the last is
  std::span<std::byte> copy(std::uint64_t turn) const;

  std::span<std::byte> region_;
};

}  // namespace virtio
