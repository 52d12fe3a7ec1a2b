#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "ipc/unix_socket.h"
#include "tests/bench/net/end.h"

namespace bench {
namespace {

class CableEnd final : public End {
 public:
  explicit CableEnd(ipc::UniqueFd stream) : stream_(std::move(stream)), room_(kFrameBytes), read_(4 * kFrameBytes) {}

  std::optional<std::span<std::byte>> room() override {
    if (!rest_.empty()) {
      const ssize_t sent = checked(::send(stream_.get(), rest_.data(), rest_.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
      rest_.erase(rest_.begin(), rest_.begin() + sent);
    }
    return rest_.empty() ? std::optional(std::span(room_)) : std::nullopt;
  }

  std::span<const iovec> receive(std::span<std::byte> /*room*/) override {
    if (!whole_frame()) {
      std::memmove(read_.data(), read_.data() + start_, end_ - start_);
      end_ -= std::exchange(start_, 0);
      const ssize_t got = ::recv(stream_.get(), read_.data() + end_, read_.size() - end_, MSG_DONTWAIT);
      if (got == 0) throw Failure("the other end of the cable has gone");
      end_ += static_cast<std::size_t>(checked(got));
      if (!whole_frame()) return {};
    }
    const std::size_t length = length_of_next();
    frame_ = {read_.data() + start_ + kLengthBytes, length};
    start_ += kLengthBytes + length;
    return std::span(&frame_, 1);
  }

  void send(std::span<const iovec> frame) override {
    std::array<iovec, 1 + net::kMaxParts> parts;
    std::size_t bytes = 0;
    for (const iovec& part : frame) bytes += part.iov_len;
    std::uint32_t length = htonl(static_cast<std::uint32_t>(bytes));
    parts[0] = {&length, kLengthBytes};
    std::ranges::copy(frame, parts.begin() + 1);
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = 1 + frame.size();
    auto sent = static_cast<std::size_t>(checked(::sendmsg(stream_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT)));
    for (const iovec& part : std::span(parts).first(1 + frame.size())) {
      const std::size_t gone = std::min(sent, part.iov_len);
      sent -= gone;
      const auto* const first = static_cast<const std::byte*>(part.iov_base);
      rest_.insert(rest_.end(), first + gone, first + part.iov_len);
    }
  }

  pollfd has_frames() const override { return {.fd = stream_.get(), .events = POLLIN, .revents = 0}; }
  pollfd has_room() const override { return {.fd = stream_.get(), .events = POLLOUT, .revents = 0}; }

 private:
  static constexpr std::size_t kLengthBytes = sizeof(std::uint32_t);

  static ssize_t checked(ssize_t moved) {
    if (moved < 0 && errno != EAGAIN && errno != EINTR) throw Failure("the other end of the cable has gone");
    return std::max<ssize_t>(moved, 0);
  }
  std::size_t length_of_next() const {
    std::uint32_t length = 0;
    std::memcpy(&length, read_.data() + start_, kLengthBytes);
    length = ntohl(length);
    if (length > kFrameBytes) throw Failure("a frame that is too long");
    return length;
  }
  bool whole_frame() const {
    const std::size_t there = end_ - start_;
    return there >= kLengthBytes && there - kLengthBytes >= length_of_next();
  }

  const ipc::UniqueFd stream_;
  std::vector<std::byte> room_;
  std::vector<std::byte> read_;  // [start_, end_) was read and not taken
  std::size_t start_ = 0;
  std::size_t end_ = 0;
  iovec frame_{};
  std::vector<std::byte> rest_;  // of a frame that did not go as a whole
};

ipc::UniqueFd listen_and_accept(const std::string& path) {
  auto listener = ipc::bind_unix(path, SOCK_STREAM | SOCK_CLOEXEC);
  if (!listener) throw Failure(ipc::describe(listener.error()));
  if (::listen(listener->get(), 1) != 0) throw Failure(path + ": cannot listen");
  ipc::UniqueFd stream(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!stream) throw Failure(path + ": nobody connects");
  return stream;
}

}  // namespace

std::unique_ptr<End> connect_cable_end(const std::string& socket_path) {
  auto stream = ipc::connect_unix(socket_path, SOCK_STREAM | SOCK_CLOEXEC);
  if (!stream) throw Failure(ipc::describe(stream.error()));
  return std::make_unique<CableEnd>(std::move(*stream));
}

std::unique_ptr<End> accept_cable_end(const std::string& socket_path) {
  return std::make_unique<CableEnd>(listen_and_accept(socket_path));
}

}  // namespace bench
