#include "ipc/descriptor_passing.h"

#include <sys/socket.h>

#include <array>

namespace ipc {
namespace {

struct alignas(cmsghdr) ControlBuffer {
  std::array<std::byte, CMSG_SPACE(sizeof(int) * kMaxPassedFds)> bytes;
};

}  // namespace

Result<std::size_t> send_with_fds(const UniqueFd& socket, std::span<const std::byte> bytes, std::span<const int> fds,
                                  int flags) {
  if (fds.size() > kMaxPassedFds) return failure(EMSGSIZE, "send: too many descriptors for one message");
  iovec data{const_cast<std::byte*>(bytes.data()), bytes.size()};
  ControlBuffer control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
  }
  ssize_t sent = 0;
  do sent = ::sendmsg(socket.get(), &message, flags | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return system_failure("send on a socket");
  return static_cast<std::size_t>(sent);
}

Result<Received> receive_with_fds(const UniqueFd& socket, std::span<std::byte> bytes, std::size_t max_fds, int flags) {
  iovec data{bytes.data(), bytes.size()};
  ControlBuffer control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  ssize_t received = 0;
  do received = ::recvmsg(socket.get(), &message, flags | MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  if (received < 0) return system_failure("receive on a socket");

  Received result{.bytes = static_cast<std::size_t>(received), .fds = {}};
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      result.fds.emplace_back(fd);
    }
  }
  const bool truncated = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
  if (truncated || result.fds.size() > max_fds) return failure(EMSGSIZE, "receive: message larger than allowed");
  return result;
}

}  // namespace ipc
