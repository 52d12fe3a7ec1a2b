#include "backends/virtio/kept_state.h"

#include <algorithm>

#include "backends/virtio/inflight_region.h"

namespace virtio {
namespace {

constexpr std::size_t kHead = 64;

std::uint64_t& number_at(std::span<std::byte> bytes) {
  // SAFETY: the caller's bytes are at least 64, aligned to 64; any bytes are a number.
  return *reinterpret_cast<std::uint64_t*>(bytes.data());
}

}  // namespace

std::uint64_t& KeptState::turn() const {
  return number_at(region_);
}

std::span<std::byte> KeptState::copy(std::uint64_t turn) const {
  return region_.subspan(kHead + turn % 2 * (kHead + kMaxState), kHead + kMaxState);
}

std::vector<std::byte> KeptState::load() const {
  if (region_.empty()) return {};
  const std::uint64_t last = ipc::load_once(turn(), std::memory_order_acquire);
  if (last == 0) return {};
  const std::span<std::byte> from = copy(last);
  const std::uint64_t bytes = ipc::load_once(number_at(from));
  const auto state = from.subspan(kHead, std::min<std::uint64_t>(bytes, kMaxState));
  return {state.begin(), state.end()};
}

void KeptState::store(std::span<const std::byte> state) {
  if (region_.empty()) return;
  const std::uint64_t next = ipc::load_once(turn()) + 1;
  const std::span<std::byte> to = copy(next);
  const std::size_t bytes = std::min(state.size(), kMaxState);
  ipc::store_once(number_at(to), bytes);
  std::ranges::copy(state.first(bytes), to.begin() + kHead);
  inflight_region::store(turn(), next);
}

}  // namespace virtio
