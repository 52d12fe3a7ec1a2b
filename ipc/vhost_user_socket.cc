#include "ipc/vhost_user_socket.h"

#include <sys/socket.h>

#include <array>
#include <utility>

#include "ipc/descriptor_passing.h"

namespace ipc::vhost_user {

Result<std::optional<Message>> Socket::receive() {
  // Header and payload are read apart, so that a read never runs into the next message, whose
  // descriptors would then be attributed to this one.
  const auto read_into = [&](std::span<std::byte> rest) -> Result<std::size_t> {
    auto received = receive_with_fds(socket_, rest, kMaxMessageFds, MSG_DONTWAIT);
    if (!received && received.error().code == EAGAIN) return std::size_t{0};
    if (!received) return std::unexpected(received.error());
    if (received->bytes == 0) return failure(EPIPE, "vhost-user: the peer closed the connection");
    if (received->fds.size() > kMaxMessageFds - partial_.fds.size())
      return failure(EMSGSIZE, "vhost-user: too many descriptors with one message");
    for (UniqueFd& fd : received->fds) partial_.fds.push_back(std::move(fd));
    return received->bytes;
  };

  while (header_bytes_ < sizeof header_) {
    const auto rest = std::as_writable_bytes(std::span(&header_, 1)).subspan(header_bytes_);
    const std::size_t count = TRY(read_into(rest));
    if (count == 0) return std::optional<Message>();
    header_bytes_ += count;
    if (header_bytes_ < sizeof header_) continue;
    if ((header_.flags & kVersionMask) != kVersion) return failure(EPROTO, "vhost-user: message of an unknown version");
    if (header_.size > kMaxPayloadBytes) return failure(EPROTO, "vhost-user: message larger than any defined");
    partial_.payload.resize(header_.size);
    payload_bytes_ = 0;
  }
  while (payload_bytes_ < partial_.payload.size()) {
    const std::size_t count = TRY(read_into(std::span(partial_.payload).subspan(payload_bytes_)));
    if (count == 0) return std::optional<Message>();
    payload_bytes_ += count;
  }
  header_bytes_ = 0;
  partial_.request = header_.request;
  partial_.flags = header_.flags;
  return std::optional<Message>(std::exchange(partial_, {}));
}

Result<> Socket::send(std::uint32_t request, std::uint32_t flags, std::span<const std::byte> payload,
                      std::span<const int> fds) {
  if (payload.size() > kMaxPayloadBytes) return failure(EMSGSIZE, "vhost-user: send a message");
  std::array<std::byte, sizeof(Header) + kMaxPayloadBytes> bytes;
  const Header header{request, flags | kVersion, static_cast<std::uint32_t>(payload.size())};
  std::memcpy(bytes.data(), &header, sizeof header);
  if (!payload.empty()) std::memcpy(bytes.data() + sizeof header, payload.data(), payload.size());
  const std::size_t size = sizeof header + payload.size();
  const std::size_t sent = TRY(send_with_fds(socket_, std::span(bytes).first(size), fds, MSG_DONTWAIT));
  if (sent != size) return failure(EAGAIN, "vhost-user: the peer does not read its messages");
  return {};
}

}  // namespace ipc::vhost_user
