// Eventfds that tell another thread or process of news.
#pragma once

#include <unistd.h>

#include <cstdint>

#include "ipc/unique_fd.h"

namespace ipc {

// Adds one to `eventfd`. That fails only if it is none, or full and non-blocking: who gave it loses by it.
inline void signal(const UniqueFd& eventfd) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(eventfd.get(), &one, sizeof one);
}

}  // namespace ipc
