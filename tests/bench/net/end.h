// One end of a copy loop: where frames come from and go to, each with a virtio-net header of 12 bytes in front of it.
#pragma once

#include <poll.h>
#include <sys/uio.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>

#include "backends/net/link.h"

namespace bench {

// There is nobody to recover for: main() prints it and exits.
class Failure : public std::runtime_error {
  using runtime_error::runtime_error;
};

inline constexpr std::size_t kFrameBytes = net::kHeaderBytes + net::kMaxFrame;

class End {
 public:
  End() = default;
  End(const End&) = delete;
  End& operator=(const End&) = delete;
  virtual ~End() = default;

  // Where the next frame for this end is best put, kFrameBytes; nothing while it takes none.
  virtual std::optional<std::span<std::byte>> room() = 0;
  // The next frame. It may be in `room`, and is gone with the next call. Empty: there is none now.
  virtual std::span<const iovec> receive(std::span<std::byte> room) = 0;
  // What another end's receive() gave for this one's room().
  virtual void send(std::span<const iovec> frame) = 0;
  // After a batch: tells the other side of what was sent and what was taken.
  virtual void flush() {}

  // What to wait for until it may have frames, and until it may have room again.
  virtual pollfd has_frames() const = 0;
  virtual pollfd has_room() const = 0;
  // Has the other side tell of both. What came before that tells of nothing.
  virtual void arm() {}
  virtual void disarm() {}
};

// `offloads`: checksums, and TCP frames of 64 KiB, are left to who gets them.
std::unique_ptr<End> open_tap_end(const std::string& name, bool offloads);
std::unique_ptr<End> open_card_end(const std::string& socket_path, bool offloads);
// A cable of bulkhead-net's: the stream whose frames have headers.
std::unique_ptr<End> connect_cable_end(const std::string& socket_path);
std::unique_ptr<End> accept_cable_end(const std::string& socket_path);

}  // namespace bench
