#include "ipc/control_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>

#include "ipc/descriptor_passing.h"

namespace ipc {

Result<ControlChannel::Pair> ControlChannel::pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return system_failure("make a control socket");
  return Pair{ControlChannel(UniqueFd(ends[0])), UniqueFd(ends[1])};
}

Result<> ControlChannel::send(capnp::MessageBuilder& message, std::span<const int> fds) {
  const kj::Array<capnp::word> words = capnp::messageToFlatArray(message);
  const auto bytes = words.asBytes();
  if (bytes.size() > kMaxFrameBytes) return failure(EMSGSIZE, "send a control message");
  const auto view = std::as_bytes(std::span(bytes.begin(), bytes.size()));
  TRY(send_with_fds(socket_, view, fds, MSG_DONTWAIT));
  return {};
}

Result<std::optional<Frame>> ControlChannel::receive(bool wait) {
  Frame frame;
  frame.words_ = kj::heapArray<capnp::word>(kMaxFrameBytes / sizeof(capnp::word));
  kj::ArrayPtr<kj::byte> room = frame.words_.asBytes();
  auto received = TRY(receive_with_fds(socket_, std::as_writable_bytes(std::span(room.begin(), room.size())),
                                       kMaxPassedFds, wait ? 0 : MSG_DONTWAIT));
  if (received.bytes == 0) return std::optional<Frame>();
  if (received.bytes % sizeof(capnp::word) != 0) return failure(EBADMSG, "control message of an odd size");
  frame.fds = std::move(received.fds);
  return guarded([&]() -> Result<std::optional<Frame>> {
    capnp::ReaderOptions limits;
    limits.traversalLimitInWords = 4 * kMaxFrameBytes / sizeof(capnp::word);
    limits.nestingLimit = 16;
    const kj::ArrayPtr<const capnp::word> words = frame.words_.slice(0, received.bytes / sizeof(capnp::word));
    frame.reader_ = std::make_unique<capnp::FlatArrayMessageReader>(words, limits);
    return std::optional<Frame>(std::move(frame));
  });
}

Result<Frame> ControlChannel::ask(capnp::MessageBuilder& question, std::span<const int> fds,
                                  std::chrono::milliseconds patience) {
  TRY(send(question, fds));
  pollfd waits{socket_.get(), POLLIN, 0};
  if (::poll(&waits, 1, static_cast<int>(patience.count())) <= 0) return failure(ETIMEDOUT, "no answer");
  auto frame = TRY(receive());
  if (!frame) return failure(ECONNRESET, "no answer");
  return std::move(*frame);
}

}  // namespace ipc
