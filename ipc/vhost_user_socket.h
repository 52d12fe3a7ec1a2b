// One side of a vhost-user connection: whole messages in, whole messages out, never blocking.
#pragma once

#include <cstring>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "ipc/vhost_user.h"

namespace ipc::vhost_user {

struct Message {
  std::uint32_t request = 0;  // a Request, or a BackendRequest on the back end's channel; any number from a peer
  std::uint32_t flags = kVersion;
  std::vector<std::byte> payload;  // at most kMaxPayloadBytes
  std::vector<UniqueFd> fds;       // at most kMaxMessageFds

  bool is_reply() const { return (flags & kReplyFlag) != 0; }
  bool needs_reply() const { return (flags & kNeedReplyFlag) != 0; }

  // The payload as one T; nothing if its size is another.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  std::optional<T> as() const {
    if (payload.size() != sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, payload.data(), sizeof value);
    return value;
  }
};

class Socket {
 public:
  Socket() = default;
  // `socket` is a connected SOCK_STREAM Unix socket.
  explicit Socket(UniqueFd socket) : socket_(std::move(socket)) {}

  const UniqueFd& fd() const { return socket_; }

  // The next whole message, or nothing if it has not all arrived yet: call again when the socket is
  // readable. After an error the connection is of no more use: EPIPE when the peer has closed, EPROTO
  // for a wrong version or a size beyond the bounds, EMSGSIZE for too many descriptors.
  Result<std::optional<Message>> receive();

  // Sends one message whose descriptors stay the caller's. EAGAIN if the peer lets its socket fill up.
  Result<> send(std::uint32_t request, std::uint32_t flags, std::span<const std::byte> payload,
                std::span<const int> fds = {});

 private:
  UniqueFd socket_;
  Header header_{};
  std::size_t header_bytes_ = 0;
  std::size_t payload_bytes_ = 0;
  Message partial_;
};

template <class T>
std::span<const std::byte> payload_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace ipc::vhost_user
