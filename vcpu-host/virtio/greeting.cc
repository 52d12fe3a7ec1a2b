// How a back end is greeted: what it can do, what of that is used, its configuration space.
#include <poll.h>
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
                                  bit(ProtocolFeature::InflightShmfd) | bit(ProtocolFeature::ResetDevice) |
                                  bit(ProtocolFeature::Status);

// Asks for the most that there can be. Back ends differ in what they do when they have less: most fill up with zeros,
// some refuse; those are asked for less and less.
constexpr std::size_t kConfigSizes[] = {256, 128, 96, 64, 60, 56, 48, 40, 36, 32, 28, 24, 20, 16, 12, 8, 4};

}  // namespace

const char* FrontEnd::name_of(Request request) {
  switch (request) {
    case Request::GetFeatures:
      return "GET_FEATURES";
    case Request::GetProtocolFeatures:
      return "GET_PROTOCOL_FEATURES";
    case Request::SetProtocolFeatures:
      return "SET_PROTOCOL_FEATURES";
    case Request::SetOwner:
      return "SET_OWNER";
    case Request::GetQueueNum:
      return "GET_QUEUE_NUM";
    case Request::SetBackendReqFd:
      return "SET_BACKEND_REQ_FD";
    case Request::GetInflightFd:
      return "GET_INFLIGHT_FD";
    case Request::SetInflightFd:
      return "SET_INFLIGHT_FD";
    case Request::SetFeatures:
      return "SET_FEATURES";
    case Request::SetMemTable:
      return "SET_MEM_TABLE";
    case Request::SetVringNum:
      return "SET_VRING_NUM";
    case Request::SetVringAddr:
      return "SET_VRING_ADDR";
    case Request::SetVringBase:
      return "SET_VRING_BASE";
    case Request::GetVringBase:
      return "GET_VRING_BASE";
    case Request::SetVringKick:
      return "SET_VRING_KICK";
    case Request::SetVringCall:
      return "SET_VRING_CALL";
    case Request::SetVringEnable:
      return "SET_VRING_ENABLE";
    case Request::GetConfig:
      return "GET_CONFIG";
    case Request::SetConfig:
      return "SET_CONFIG";
    case Request::ResetDevice:
      return "RESET_DEVICE";
    case Request::SetStatus:
      return "SET_STATUS";
    default:
      return "request";
  }
}

ipc::Result<std::unique_ptr<FrontEnd>> FrontEnd::connect(EventLoop& loop, DeviceDescriptors descriptors, GuestRam ram,
                                                         Limits limits) {
  const std::size_t queues = descriptors.kicks.size();
  if (queues == 0 || queues > kMaxQueues || descriptors.calls.size() != queues)
    return ipc::failure(EINVAL, fmt::format("vhost-user device: {} kick and {} call descriptors, not 1 to {} of each",
                                            queues, descriptors.calls.size(), kMaxQueues));
  std::unique_ptr<FrontEnd> front_end(new FrontEnd(loop, std::move(descriptors), ram, limits));
  front_end->timer_ = ipc::UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!front_end->timer_) return ipc::system_failure("make the timer of a vhost-user device");
  TRY(loop.watch(front_end->timer_, [self = front_end.get()] { self->timer_expired(); }));
  TRY(front_end->adopt(std::move(front_end->descriptors_.back_end)));
  TRY(front_end->wait_for_greeting());
  return front_end;
}

void FrontEnd::reconnect(BackEndConnection connection) {
  lose({EPIPE, "another takes its place"});
  if (const auto adopted = adopt(std::move(connection)); !adopted) lose(adopted.error());
}

ipc::Result<> FrontEnd::adopt(BackEndConnection connection) {
  socket_ = ipc::vhost_user::Socket(std::move(connection.socket));
  requests_ = ipc::vhost_user::Socket(std::move(connection.requests));
  requester_ = std::move(connection.requester);
  state_ = State::Greeting;
  negotiates_ = false;
  protocol_features_ = 0;
  used_ = false;
  TRY(loop_.watch(socket_.fd(), [this] { socket_ready(); }));
  if (requests_.fd()) TRY(loop_.watch(requests_.fd(), [this] { back_end_request_ready(); }));
  queue_message(Request::GetFeatures);
  send_pending();
  return {};
}

// Before the guest runs: nothing else has to be done meanwhile.
ipc::Result<> FrontEnd::wait_for_greeting() {
  const auto deadline = Time::now() + limits_.greeting;
  while (state_ == State::Greeting) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Time::now()).count();
    const int events = POLLIN | (outgoing_.empty() ? 0 : POLLOUT);
    pollfd poll{.fd = socket_.fd().get(), .events = static_cast<short>(events), .revents = 0};
    const int ready = left > 0 ? ::poll(&poll, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000'000))) : 0;
    if (ready < 0 && errno != EINTR) return ipc::system_failure("wait for a vhost-user back end");
    if (ready == 0) lose_for_silence();
    if (ready > 0) socket_ready();
  }
  if (state_ == State::Lost) return std::unexpected(loss_);
  return {};
}

// What it answers to a question, and what it is asked next.
ipc::Result<> FrontEnd::accept_greeting(const Message& reply, Request request) {
  if (request == Request::GetConfig) return accept_first_config(reply);
  const auto number = reply.as<std::uint64_t>();
  if (!number) return ipc::failure(EPROTO, fmt::format("vhost-user {}: the answer is malformed", name_of(request)));
  switch (request) {
    case Request::GetFeatures:
      if ((*number & kVersion1) == 0)
        return ipc::failure(ENOTSUP, "vhost-user GET_FEATURES: the back end does not offer VIRTIO_F_VERSION_1");
      negotiates_ = (*number & ipc::vhost_user::kProtocolFeaturesBit) != 0;
      features_ = *number & ~ipc::vhost_user::kProtocolFeaturesBit;
      queue_message(negotiates_ ? Request::GetProtocolFeatures : Request::SetOwner);
      return {};
    case Request::GetProtocolFeatures: {
      const std::uint64_t agreed = *number & kWanted;
      queue_message(Request::SetProtocolFeatures, payload_of(agreed));
      protocol_features_ = agreed;
      queue_message(Request::SetOwner);
      if (has(ProtocolFeature::Mq)) queue_message(Request::GetQueueNum);
      if (has(ProtocolFeature::BackendReq) && requester_)
        queue_message(Request::SetBackendReqFd, {}, {requester_.get()});
      asked_config_ = 0;
      ask_for_config();
      return {};
    }
    default:  // GET_QUEUE_NUM
      if (*number >= queues()) return {};
      return ipc::failure(
          ENOTSUP,
          fmt::format("vhost-user GET_QUEUE_NUM: the back end has {} queues, the device needs {}", *number, queues()));
  }
}

void FrontEnd::ask_for_config() {
  if (!has(ProtocolFeature::Config) || asked_config_ == std::size(kConfigSizes)) return;
  const std::size_t size = greeted_once_ ? config_.size() : kConfigSizes[asked_config_];
  if (size == 0) return;
  std::vector<std::byte> payload(sizeof(ConfigHeader) + size);
  const ConfigHeader asked{.offset = 0, .size = static_cast<std::uint32_t>(size), .flags = 0};
  std::memcpy(payload.data(), &asked, sizeof asked);
  queue_message(Request::GetConfig, payload);
}

ipc::Result<> FrontEnd::accept_first_config(const Message& reply) {
  if (greeted_once_) return accept_config(reply);
  ConfigHeader answered;
  if (reply.payload.size() <= sizeof answered) {  // refused; in the end it has no configuration space
    ++asked_config_;
    ask_for_config();
    return {};
  }
  std::memcpy(&answered, reply.payload.data(), sizeof answered);
  const std::span<const std::byte> bytes = std::span(reply.payload).subspan(sizeof answered);
  if (answered.offset != 0 || answered.size != bytes.size() || bytes.size() > kConfigSizes[asked_config_])
    return ipc::failure(EPROTO, "vhost-user GET_CONFIG: the answer is malformed");
  config_.assign(bytes.begin(), bytes.end());
  return {};
}

}  // namespace vcpu_host
