// A way out of one pair of queues: a tap, a packet socket, a stream to another process, or nothing at all.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backends/net/offload.h"
#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace net {

// The longest frame: 64 KiB of IP, Ethernet with tags in front.
inline constexpr std::size_t kMaxFrame = 65535 + kEthernetBytes + 4 * kTagBytes;
// What one frame is put together from, at most: its head, and guest buffers. A link adds two of its own (IOV_MAX).
inline constexpr std::size_t kMaxParts = 1022;

// A frame that the guest sends, judged already.
struct Outgoing {
  Header header;
  std::span<const iovec> parts;  // the head's private copy, then what remains in guest memory; kMaxParts at most
  std::size_t bytes;             // all of them
};

// A frame for the guest, in private memory until the next receive().
struct Incoming {
  Header header;
  std::span<std::byte> frame;
};

enum class Sent : std::uint8_t { Yes, Full, Refused, Gone };

class Link {
 public:
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  virtual ~Link() = default;

  // What to wait for; empty: it is never busy, and never has anything.
  virtual const ipc::UniqueFd& file() const = 0;
  // Who made the frames that it gives: a kernel, or a peer whose headers have to be checked. Without `headers` it
  // neither takes nor gives anything but whole frames.
  virtual bool headers() const = 0;
  virtual bool trusted() const = 0;
  // Both ways, a frame may be several UDP datagrams to be cut (VIRTIO_NET_HDR_GSO_UDP_L4).
  virtual bool long_udp() const { return false; }

  // Never waits. Full: later, once it is writable again. Refused: this frame will never do. Gone: nobody is there. Not
  // while flush() says Full.
  virtual Sent send(const Outgoing& frame) = 0;
  // A frame that was sent may have a rest that had no room. Yes: it is gone; Full: it waits until it is writable again.
  virtual Sent flush() { return Sent::Yes; }
  // Nothing: there is none now. EPIPE: nobody is there any more; EPROTO: the peer does not keep to the framing.
  virtual ipc::Result<std::optional<Incoming>> receive() = 0;
  // What the guest's driver takes, from now on. While no thread serves.
  virtual void set_offloads(const Offloads& /*accepted*/) {}
};

// One queue of a tap: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, with a header of 12 bytes. Made non-blocking.
ipc::Result<std::unique_ptr<Link>> make_tap_link(ipc::UniqueFd tap);
// A bound AF_PACKET socket with PACKET_VNET_HDR. Made non-blocking.
ipc::Result<std::unique_ptr<Link>> make_packet_link(ipc::UniqueFd socket);
// A connected Unix or TCP stream: each frame follows its length, 32 bits in network order, as passt and QEMU's stream
// back end speak it. With `headers` a virtio-net header is before each frame, and counted. Made non-blocking.
ipc::Result<std::unique_ptr<Link>> make_stream_link(ipc::UniqueFd stream, bool headers);
// Takes all; and gives nothing, or the same frame of `bytes` again and again. For measuring.
std::unique_ptr<Link> make_null_link(std::size_t bytes);

}  // namespace net
