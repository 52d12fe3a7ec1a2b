// The control plane between the monitor and one child: Cap'n Proto messages in bounded frames over a
// SOCK_SEQPACKET Unix socket, descriptors passed along. One frame is one message.
#pragma once

#include <capnp/message.h>
#include <capnp/serialize.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace ipc {

inline constexpr std::size_t kMaxFrameBytes = 64 * 1024;

// A frame from the peer, who is not trusted: the reader bounds traversal and nesting, and throws
// kj::Exception on a malformed message; read it inside guarded().
class Frame {
 public:
  template <class Root>
  typename Root::Reader root() {
    return reader_->getRoot<Root>();
  }
  // The descriptors in the order sent. Taking one leaves an empty UniqueFd in its place.
  std::vector<UniqueFd> fds;

 private:
  friend class ControlChannel;
  kj::Array<capnp::word> words_;
  std::unique_ptr<capnp::FlatArrayMessageReader> reader_;  // reads words_
};

class ControlChannel {
 public:
  ControlChannel() = default;
  // `socket` is a SOCK_SEQPACKET socket.
  explicit ControlChannel(UniqueFd socket) : socket_(std::move(socket)) {}

  struct Pair;
  static Result<Pair> pair();

  const UniqueFd& socket() const { return socket_; }

  // Sends one frame. EMSGSIZE if it is larger than kMaxFrameBytes; EAGAIN if the peer does not read
  // (a send never blocks); EPIPE if it is gone.
  Result<> send(capnp::MessageBuilder& message, std::span<const int> fds = {});

  // Receives one frame, waiting for it; nothing when the peer has closed. EBADMSG for bytes that are
  // no message, EMSGSIZE for a frame or descriptors beyond the bounds. EAGAIN with `wait` false.
  Result<std::optional<Frame>> receive(bool wait = true);

  // Sends a question and receives what comes next, within `patience`: ETIMEDOUT if nothing does, ECONNRESET when the
  // peer closes instead.
  Result<Frame> ask(capnp::MessageBuilder& question, std::span<const int> fds, std::chrono::milliseconds patience);

 private:
  UniqueFd socket_;
};

struct ControlChannel::Pair {
  ControlChannel ours;
  UniqueFd theirs;  // close-on-exec, like all descriptors here
};

// Runs `parse` on untrusted messages: what Cap'n Proto throws becomes EBADMSG.
template <class Parse>
auto guarded(Parse&& parse) -> decltype(parse()) {
  try {
    return parse();
  } catch (const kj::Exception& exception) {
    return failure(EBADMSG, fmt::format("malformed control message: {}", exception.getDescription().cStr()));
  }
}

}  // namespace ipc
