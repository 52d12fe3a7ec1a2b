// The part of the front end that waits: the handshake with the back end, before the guest runs.
#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>

#include "vcpu-host/virtio/front_end.h"

namespace vcpu_host {
namespace {

using ipc::vhost_user::ConfigHeader;
using ipc::vhost_user::Message;
using ipc::vhost_user::payload_of;
using ipc::vhost_user::ProtocolFeature;
using ipc::vhost_user::Request;
using Time = std::chrono::steady_clock;

constexpr std::uint64_t kVersion1 = std::uint64_t{1} << 32;  // VIRTIO_F_VERSION_1

constexpr std::uint64_t kWanted = bit(ProtocolFeature::Mq) | bit(ProtocolFeature::ReplyAck) |
                                  bit(ProtocolFeature::BackendReq) | bit(ProtocolFeature::Config) |
                                  bit(ProtocolFeature::ResetDevice) | bit(ProtocolFeature::Status);

}  // namespace

class FrontEnd::Greeting {
 public:
  explicit Greeting(FrontEnd& front_end) : front_end_(front_end), deadline_(Time::now() + front_end.limits_.greeting) {}

  ipc::Result<> run() {
    const std::uint64_t features = TRY(ask_number(Request::GetFeatures, "GET_FEATURES"));
    if ((features & kVersion1) == 0)
      return ipc::failure(ENOTSUP, "vhost-user GET_FEATURES: the back end does not offer VIRTIO_F_VERSION_1");
    front_end_.negotiates_ = (features & ipc::vhost_user::kProtocolFeaturesBit) != 0;
    front_end_.features_ = features & ~ipc::vhost_user::kProtocolFeaturesBit;
    if (front_end_.negotiates_) {
      const std::uint64_t agreed = TRY(ask_number(Request::GetProtocolFeatures, "GET_PROTOCOL_FEATURES")) & kWanted;
      TRY(send(Request::SetProtocolFeatures, "SET_PROTOCOL_FEATURES", payload_of(agreed), {}, 0));
      front_end_.protocol_features_ = agreed;
    }
    TRY(tell(Request::SetOwner, "SET_OWNER", {}, {}));
    TRY(count_queues());
    TRY(offer_request_channel());
    return fetch_config();
  }

 private:
  ipc::Result<> count_queues() {
    if (!front_end_.has(ProtocolFeature::Mq)) return {};
    const std::uint64_t queues = TRY(ask_number(Request::GetQueueNum, "GET_QUEUE_NUM"));
    if (queues >= front_end_.queues()) return {};
    return ipc::failure(ENOTSUP,
                        fmt::format("vhost-user GET_QUEUE_NUM: the back end has {} queues, the device needs {}", queues,
                                    front_end_.queues()));
  }

  ipc::Result<> offer_request_channel() {
    if (!front_end_.has(ProtocolFeature::BackendReq)) return {};
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      return ipc::system_failure("vhost-user SET_BACKEND_REQ_FD: make a socket pair");
    front_end_.requests_ = ipc::vhost_user::Socket(ipc::UniqueFd(ends[0]));
    const ipc::UniqueFd theirs(ends[1]);
    const int fd = theirs.get();
    return tell(Request::SetBackendReqFd, "SET_BACKEND_REQ_FD", {}, std::span(&fd, 1));
  }

  // Asks for the most that there can be. Back ends differ in what they do when they have less: most fill up
  // with zeros, some refuse; those are asked for less and less.
  ipc::Result<> fetch_config() {
    if (!front_end_.has(ProtocolFeature::Config)) return {};
    constexpr std::size_t kSizes[] = {256, 128, 96, 64, 60, 56, 48, 40, 36, 32, 28, 24, 20, 16, 12, 8, 4};
    for (const std::size_t size : kSizes) {
      std::vector<std::byte> payload(sizeof(ConfigHeader) + size);
      const ConfigHeader asked{.offset = 0, .size = static_cast<std::uint32_t>(size), .flags = 0};
      std::memcpy(payload.data(), &asked, sizeof asked);
      const Message reply = TRY(ask(Request::GetConfig, "GET_CONFIG", payload));
      if (reply.payload.size() <= sizeof asked) continue;  // refused
      ConfigHeader answered;
      std::memcpy(&answered, reply.payload.data(), sizeof answered);
      const std::span<const std::byte> bytes = std::span(reply.payload).subspan(sizeof answered);
      if (answered.offset != 0 || answered.size != bytes.size() || bytes.size() > size)
        return ipc::failure(EPROTO, "vhost-user GET_CONFIG: the answer is malformed");
      front_end_.config_.assign(bytes.begin(), bytes.end());
      return {};
    }
    return {};  // it has no configuration space
  }

  ipc::Result<std::uint64_t> ask_number(Request request, const char* step) {
    const Message reply = TRY(ask(request, step, {}));
    const auto number = reply.as<std::uint64_t>();
    if (!number) return ipc::failure(EPROTO, fmt::format("vhost-user {}: the answer is malformed", step));
    return *number;
  }

  // A request without an answer of its own: acknowledged where that was agreed on.
  ipc::Result<> tell(Request request, const char* step, std::span<const std::byte> payload, std::span<const int> fds) {
    if (!front_end_.has(ProtocolFeature::ReplyAck)) return send(request, step, payload, fds, 0);
    TRY(send(request, step, payload, fds, ipc::vhost_user::kNeedReplyFlag));
    const Message reply = TRY(receive(request, step));
    if (reply.as<std::uint64_t>() == std::uint64_t{0}) return {};
    return ipc::failure(EPROTO, fmt::format("vhost-user {}: the back end refuses", step));
  }

  ipc::Result<Message> ask(Request request, const char* step, std::span<const std::byte> payload) {
    TRY(send(request, step, payload, {}, 0));
    return receive(request, step);
  }

  ipc::Result<> send(Request request, const char* step, std::span<const std::byte> payload, std::span<const int> fds,
                     std::uint32_t flags) {
    while (true) {
      auto sent = front_end_.socket_.send(static_cast<std::uint32_t>(request), flags, payload, fds);
      if (sent) return {};
      if (sent.error().code != EAGAIN) return named(step, sent.error());
      TRY(wait(POLLOUT, step));
    }
  }

  ipc::Result<Message> receive(Request request, const char* step) {
    while (true) {
      auto message = front_end_.socket_.receive();
      if (!message) return named(step, message.error());
      if (!*message) {
        TRY(wait(POLLIN, step));
        continue;
      }
      if (!(*message)->is_reply() || (*message)->request != static_cast<std::uint32_t>(request))
        return ipc::failure(EPROTO, fmt::format("vhost-user {}: the back end sent something else", step));
      return std::move(**message);
    }
  }

  ipc::Result<> wait(short events, const char* step) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Time::now()).count();
    pollfd poll{.fd = front_end_.socket_.fd().get(), .events = events, .revents = 0};
    const int ready = left > 0 ? ::poll(&poll, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000'000))) : 0;
    if (ready < 0 && errno != EINTR) return ipc::system_failure(fmt::format("vhost-user {}", step));
    if (ready == 0) return ipc::failure(ETIMEDOUT, fmt::format("vhost-user {}: no answer from the back end", step));
    return {};
  }

  static std::unexpected<ipc::Error> named(const char* step, const ipc::Error& error) {
    return ipc::failure(error.code, fmt::format("vhost-user {}: {}", step, error.context));
  }

  FrontEnd& front_end_;
  Time::time_point deadline_;
};

ipc::Result<std::unique_ptr<FrontEnd>> FrontEnd::connect(EventLoop& loop, DeviceDescriptors descriptors, GuestRam ram,
                                                         Limits limits) {
  const std::size_t queues = descriptors.kicks.size();
  if (queues == 0 || queues > kMaxQueues || descriptors.calls.size() != queues)
    return ipc::failure(EINVAL, fmt::format("vhost-user device: {} kick and {} call descriptors, not 1 to {} of each",
                                            queues, descriptors.calls.size(), kMaxQueues));
  std::unique_ptr<FrontEnd> front_end(new FrontEnd(loop, std::move(descriptors), ram, limits));
  TRY(Greeting(*front_end).run());
  TRY(front_end->watch());
  return front_end;
}

}  // namespace vcpu_host
