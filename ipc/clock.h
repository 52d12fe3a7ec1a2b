// The clock that durations are measured by.
#pragma once

#include <chrono>
#include <cstdint>

namespace ipc {

// Nanoseconds since some moment in the past; it never goes back.
inline std::uint64_t monotonic_ns() {
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

}  // namespace ipc
