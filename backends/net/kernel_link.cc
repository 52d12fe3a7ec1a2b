// Ways out through the kernel: taps and packet sockets. Each frame is one call; a ring of io_uring saves nothing here
// (docs/performance.md).
#include <fcntl.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "backends/net/link.h"

// Newer than Debian 12's header: Linux 6.2.
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

namespace net {
namespace {

using ipc::Result;
using ipc::UniqueFd;

// Linux's packet sockets know the header of legacy drivers alone, which ends before num_buffers.
constexpr std::size_t kPacketHeaderBytes = sizeof(virtio_net_hdr);

// Linux takes both or none.
constexpr unsigned kLongUdp = TUN_F_USO4 | TUN_F_USO6;

bool set_tap_offloads(const UniqueFd& tap, unsigned flags) {
  return ::ioctl(tap.get(), TUNSETOFFLOAD, flags) == 0;
}

class KernelLink final : public Link {
 public:
  KernelLink(UniqueFd file, std::size_t header_bytes, bool tap)
      : file_(std::move(file)),
        header_bytes_(header_bytes),
        tap_(tap),
        long_udp_(tap && set_tap_offloads(file_, TUN_F_CSUM | kLongUdp)),
        buffer_(kMaxFrame) {
    if (long_udp_) set_tap_offloads(file_, 0);
  }

  const UniqueFd& file() const override { return file_; }
  bool headers() const override { return true; }
  bool trusted() const override { return true; }
  bool long_udp() const override { return long_udp_; }

  Sent send(const Outgoing& frame) override {
    std::array<iovec, kMaxParts + 1> parts;
    Header header = frame.header;
    parts[0] = {&header, header_bytes_};
    std::ranges::copy(frame.parts, parts.begin() + 1);
    const ssize_t sent = ::writev(file_.get(), parts.data(), static_cast<int>(frame.parts.size() + 1));
    if (sent >= 0) return Sent::Yes;
    return errno == EAGAIN || errno == ENOBUFS ? Sent::Full : Sent::Refused;
  }

  Result<std::optional<Incoming>> receive() override {
    Header header{};
    const std::array<iovec, 2> parts{{{&header, header_bytes_}, {buffer_.data(), buffer_.size()}}};
    const ssize_t got = ::readv(file_.get(), parts.data(), parts.size());
    if (got < 0 && (errno == EAGAIN || errno == EINTR || errno == ENETDOWN)) return std::optional<Incoming>();
    if (got < 0) return ipc::system_failure("receive frames");
    if (static_cast<std::size_t>(got) <= header_bytes_) return std::optional<Incoming>();
    return Incoming{header, std::span(buffer_).first(static_cast<std::size_t>(got) - header_bytes_)};
  }

  void set_offloads(const Offloads& accepted) override {
    if (!tap_) return;
    unsigned flags = 0;
    if (accepted.checksum) flags |= TUN_F_CSUM;
    if (accepted.tso4) flags |= TUN_F_TSO4;
    if (accepted.tso6) flags |= TUN_F_TSO6;
    if (accepted.ecn) flags |= TUN_F_TSO_ECN;
    if (accepted.ufo) flags |= TUN_F_UFO;
    if (accepted.uso4 && accepted.uso6) flags |= kLongUdp;
    // A kernel that cannot do all of it does the work itself.
    if (!set_tap_offloads(file_, flags)) set_tap_offloads(file_, 0);
  }

 private:
  const UniqueFd file_;
  const std::size_t header_bytes_;
  const bool tap_;
  const bool long_udp_;
  std::vector<std::byte> buffer_;
};

Result<std::unique_ptr<Link>> make_link(UniqueFd file, std::size_t header_bytes, bool tap) {
  const int flags = ::fcntl(file.get(), F_GETFL);
  if (flags < 0 || ::fcntl(file.get(), F_SETFL, flags | O_NONBLOCK) != 0) return ipc::system_failure("way out");
  return std::make_unique<KernelLink>(std::move(file), header_bytes, tap);
}

}  // namespace

Result<std::unique_ptr<Link>> make_tap_link(UniqueFd tap) {
  return make_link(std::move(tap), kHeaderBytes, true);
}

Result<std::unique_ptr<Link>> make_packet_link(UniqueFd socket) {
  return make_link(std::move(socket), kPacketHeaderBytes, false);
}

}  // namespace net
