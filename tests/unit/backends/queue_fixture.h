// A virtqueue of either layout without a device behind it, and its driver.
#pragma once

#include <optional>
#include <type_traits>

#include "backends/virtio/memory_table.h"
#include "tests/support/catch.h"
#include "tests/support/fake_driver.h"

namespace support {

// `Ring` is virtio::SplitQueue or virtio::PackedQueue.
template <class Ring, Layout kLayout>
struct QueueFixture {
  explicit QueueFixture(virtio::RingFeatures features = {}) {
    REQUIRE(table.add(ram.region(), ram.fd()));
    using Position = std::conditional_t<kLayout == Layout::Split, std::uint16_t, std::uint32_t>;
    const auto position = static_cast<Position>(driver.base());
    auto made = Ring::create(table.memory(), driver.size(), addresses(), features, position);
    REQUIRE(made);
    queue = std::move(*made);
  }
  virtio::RingAddresses addresses() const { return {{driver.table()}, {driver.available()}, {driver.used()}}; }
  // The next chain's head, if there is one and it is right.
  std::optional<std::uint16_t> take() {
    const auto head = queue->next(chain);
    if (!head || !*head || !(*head)->chain) return std::nullopt;
    return (*head)->index;
  }

  GuestRam ram{1 << 20};
  FakeQueue driver{ram, 8, kLayout};
  virtio::MemoryTable table;
  std::optional<Ring> queue;
  virtio::Chain chain;
};

}  // namespace support
