// The other end of a network card's stream or cable. Header-only; asserts nothing.
#pragma once

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <optional>
#include <vector>

#include "backends/net/offload.h"
#include "tests/support/fake_driver.h"
#include "tests/support/frames.h"

namespace support {

using Bytes = std::vector<std::byte>;

inline constexpr net::EthernetAddress kCard{{0x52, 0x54, 0, 1, 2, 3}};
inline constexpr net::EthernetAddress kPeer{{0x52, 0x54, 0, 9, 9, 9}};

// A frame of `bytes` bytes that says so in each of them.
inline Bytes make_frame(std::size_t bytes, const net::EthernetAddress& to = kCard,
                        const net::EthernetAddress& from = kPeer) {
  Bytes frame = FrameBuilder().ethernet(to, from).word(0x1234).frame();
  while (frame.size() < bytes) frame.push_back(static_cast<std::byte>(frame.size() + bytes));
  return frame;
}

// A socket at `path` at which a card's back end finds its stream; empty if it cannot be.
inline ipc::UniqueFd listen_on(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ipc::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  return ::listen(socket.get(), 1) == 0 ? std::move(socket) : ipc::UniqueFd();
}

// The other end of a card's way out.
class Network {
 public:
  Network(ipc::UniqueFd stream, bool headers) : stream_(std::move(stream)), headers_(headers) {
    const timeval time{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(stream_.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
  }
  void send(std::span<const std::byte> frame, const net::Header& header = {}) {
    const std::uint32_t length = htonl(static_cast<std::uint32_t>(frame.size() + (headers_ ? sizeof header : 0)));
    put(std::as_bytes(std::span(&length, 1)));
    if (headers_) put(std::as_bytes(std::span(&header, 1)));
    put(frame);
  }
  void put(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(stream_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
  }
  // Nothing after five seconds, or where there is nothing any more.
  std::optional<Bytes> receive() {
    std::uint32_t length = 0;
    if (!get(std::as_writable_bytes(std::span(&length, 1)))) return std::nullopt;
    length = ntohl(length);
    if (headers_) {
      if (!get(std::as_writable_bytes(std::span(&last_header, 1)))) return std::nullopt;
      length -= static_cast<std::uint32_t>(sizeof last_header);
    }
    Bytes frame(length);
    return get(frame) ? std::optional(std::move(frame)) : std::nullopt;
  }
  bool silent() { return !readable_within(stream_, std::chrono::milliseconds(50)); }
  void hang_up() { stream_ = ipc::UniqueFd(); }

  net::Header last_header{};

 private:
  bool get(std::span<std::byte> bytes) {
    return bytes.empty() ||
           ::recv(stream_.get(), bytes.data(), bytes.size(), MSG_WAITALL) == static_cast<ssize_t>(bytes.size());
  }
  ipc::UniqueFd stream_;
  bool headers_;
};

}  // namespace support
