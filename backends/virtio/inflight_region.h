// What the in-flight regions of both layouts have in common (vhost-user.rst, "Inflight I/O tracking"). For
// inflight_log.cc and packed_inflight_log.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ipc/guest_memory.h"

namespace virtio::inflight_region {

inline constexpr std::uint16_t kVersion = 1;

// Each store is in place before the next: between any two of them this process may be killed.
template <class T>
void store(T& shared, T value) {
  ipc::store_once(shared, value, std::memory_order_release);
}

// Bytes that one ring takes: a header and an entry for each descriptor, so that the next ring begins on a cache line.
template <class Header, class Entry>
constexpr std::size_t bytes(std::uint16_t queue_size) {
  constexpr std::size_t kAlignment = 64;
  return (sizeof(Header) + queue_size * sizeof(Entry) + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace virtio::inflight_region
