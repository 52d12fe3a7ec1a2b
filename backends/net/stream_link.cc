// Frames over a stream to another process: passt, QEMU, or another card's back end.
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "backends/net/link.h"

namespace net {
namespace {

using ipc::Result;
using ipc::UniqueFd;

constexpr std::size_t kLengthBytes = sizeof(std::uint32_t);
constexpr std::size_t kBufferBytes = 4 * (kLengthBytes + kHeaderBytes + kMaxFrame);

class StreamLink final : public Link {
 public:
  StreamLink(UniqueFd stream, bool headers) : stream_(std::move(stream)), headers_(headers), buffer_(kBufferBytes) {
    rest_.reserve(kLengthBytes + kHeaderBytes + kMaxFrame);
  }

  const UniqueFd& file() const override { return stream_; }
  bool headers() const override { return headers_; }
  bool trusted() const override { return false; }

  Sent send(const Outgoing& frame) override {
    std::array<iovec, kMaxParts + 2> parts;
    std::size_t count = 0;
    Header header = frame.header;
    const std::size_t own = headers_ ? kHeaderBytes : 0;
    std::uint32_t length = htonl(static_cast<std::uint32_t>(own + frame.bytes));
    parts[count++] = {&length, kLengthBytes};
    if (headers_) parts[count++] = {&header, kHeaderBytes};
    count = static_cast<std::size_t>(std::ranges::copy(frame.parts, parts.begin() + count).out - parts.begin());
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = count;
    const ssize_t sent = ::sendmsg(stream_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN || errno == EINTR ? Sent::Full : Sent::Gone;
    keep_rest(std::span(parts).first(count), static_cast<std::size_t>(sent));
    return Sent::Yes;
  }

  Sent flush() override {
    if (rest_.empty()) return Sent::Yes;
    const ssize_t sent = ::send(stream_.get(), rest_.data(), rest_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      rest_.clear();  // whoever sends next, or receives, finds that nobody is there
      return Sent::Gone;
    }
    rest_.erase(rest_.begin(), rest_.begin() + std::max<ssize_t>(sent, 0));
    return rest_.empty() ? Sent::Yes : Sent::Full;
  }

  Result<std::optional<Incoming>> receive() override {
    while (true) {
      const std::size_t there = end_ - start_;
      if (there >= kLengthBytes) {
        std::uint32_t length = 0;
        std::memcpy(&length, buffer_.data() + start_, kLengthBytes);
        length = ntohl(length);
        const std::size_t own = headers_ ? kHeaderBytes : 0;
        if (length < own || length > own + kMaxFrame)
          return ipc::failure(EPROTO, fmt::format("a frame of {} bytes", length));
        if (there - kLengthBytes >= length) return take(length, own);
      }
      if (!TRY(fill())) return std::optional<Incoming>();
    }
  }

 private:
  // What of a frame did not go yet: it is copied, as its chain is given back now.
  void keep_rest(std::span<const iovec> parts, std::size_t sent) {
    for (const iovec& part : parts) {
      const std::size_t gone = std::min(sent, part.iov_len);
      sent -= gone;
      const auto* const bytes = static_cast<const std::byte*>(part.iov_base);
      rest_.insert(rest_.end(), bytes + gone, bytes + part.iov_len);
    }
  }

  Incoming take(std::size_t length, std::size_t own) {
    Incoming taken{};
    start_ += kLengthBytes;
    if (headers_) std::memcpy(&taken.header, buffer_.data() + start_, kHeaderBytes);
    taken.frame = std::span(buffer_).subspan(start_ + own, length - own);
    start_ += length;
    return taken;
  }

  // Reads what is there. False: nothing is.
  Result<bool> fill() {
    if (start_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + start_, end_ - start_);
      end_ -= start_;
      start_ = 0;
    }
    const ssize_t got = ::recv(stream_.get(), buffer_.data() + end_, buffer_.size() - end_, MSG_DONTWAIT);
    if (got == 0) return ipc::failure(EPIPE, "the other end has gone");
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (got < 0) return ipc::failure(EPIPE, "the other end has gone");
    end_ += static_cast<std::size_t>(got);
    return true;
  }

  const UniqueFd stream_;
  const bool headers_;
  std::vector<std::byte> buffer_;  // [start_, end_) is what was read and not yet taken
  std::size_t start_ = 0;
  std::size_t end_ = 0;
  std::vector<std::byte> rest_;  // of the last frame that was sent
};

class NullLink final : public Link {
 public:
  explicit NullLink(std::size_t bytes) : frame_(bytes) {
    std::fill_n(frame_.begin(), std::min<std::size_t>(6, bytes), std::byte{0xff});
  }
  const UniqueFd& file() const override { return none_; }
  bool headers() const override { return true; }
  bool trusted() const override { return true; }
  Sent send(const Outgoing&) override { return Sent::Yes; }
  Result<std::optional<Incoming>> receive() override {
    if (frame_.empty()) return std::optional<Incoming>();
    return Incoming{.header = {}, .frame = frame_};
  }

 private:
  const UniqueFd none_;
  std::vector<std::byte> frame_;
};

}  // namespace

Result<std::unique_ptr<Link>> make_stream_link(UniqueFd stream, bool headers) {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(stream.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0) return ipc::system_failure("stream");
  if (type != SOCK_STREAM) return ipc::failure(EINVAL, "stream: a stream socket is right");
  return std::make_unique<StreamLink>(std::move(stream), headers);
}

std::unique_ptr<Link> make_null_link(std::size_t bytes) {
  return std::make_unique<NullLink>(bytes);
}

}  // namespace net
