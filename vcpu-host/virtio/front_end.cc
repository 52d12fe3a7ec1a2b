#include "vcpu-host/virtio/front_end.h"

#include <sys/timerfd.h>

#include <algorithm>
#include <optional>

#include "vcpu-host/devices/event.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {
namespace {

using ipc::vhost_user::BackendRequest;
using ipc::vhost_user::ConfigHeader;
using ipc::vhost_user::MemoryRegion;
using ipc::vhost_user::MemoryTableHeader;
using ipc::vhost_user::Message;
using ipc::vhost_user::payload_of;
using ipc::vhost_user::ProtocolFeature;
using ipc::vhost_user::Request;
using ipc::vhost_user::VringAddr;
using ipc::vhost_user::VringState;

constexpr std::uint64_t kRingPacked = std::uint64_t{1} << 34;  // VIRTIO_F_RING_PACKED
// More than a start and a stop of kMaxQueues queues after each other.
constexpr std::size_t kMaxQueuedMessages = 1024;
constexpr int kMessagesPerRound = 64;
// Ring addresses are the front end's virtual ones. It maps no ring: any numbers do that agree with the memory table.
constexpr std::uint64_t kUserBase = std::uint64_t{1} << 44;
constexpr std::uint64_t kDriverOk = 0x0f;  // ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK

const char* name_of(Request request) {
  switch (request) {
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

bool has_own_reply(Request request) {
  return request == Request::GetVringBase || request == Request::GetConfig;
}

bool in_ram(std::uint64_t ram, std::uint64_t address, std::uint64_t bytes, std::uint64_t alignment) {
  if (address % alignment != 0) return false;
  for (const layout::RamRange& range : {layout::low_ram(ram), layout::high_ram(ram)}) {
    if (address < range.base.value || address - range.base.value >= range.bytes) continue;
    return bytes <= range.bytes - (address - range.base.value);
  }
  return false;
}

// Virtio 1.2, 2.7 and 2.8.10: sizes and alignments of the parts of a virtqueue.
bool rings_in_ram(std::uint64_t ram, const QueueSetup& queue, bool packed) {
  const std::uint64_t size = queue.size;
  if (!in_ram(ram, queue.descriptors, 16 * size, 16)) return false;
  if (packed) return in_ram(ram, queue.driver, 4, 4) && in_ram(ram, queue.device, 4, 4);
  return in_ram(ram, queue.driver, 6 + 2 * size, 2) && in_ram(ram, queue.device, 6 + 8 * size, 4);
}

}  // namespace

FrontEnd::~FrontEnd() {
  listener_ = nullptr;
  if (state_ == State::Failed) return;
  loop_.unwatch(socket_.fd());
  loop_.unwatch(requests_.fd());
  loop_.unwatch(timer_);
}

bool FrontEnd::has(ProtocolFeature feature) const {
  return (protocol_features_ & bit(feature)) != 0;
}

ipc::Result<> FrontEnd::watch() {
  timer_ = ipc::UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer_) return ipc::system_failure("make the timer of a vhost-user device");
  TRY(loop_.watch(timer_, [this] { timer_expired(); }));
  TRY(loop_.watch(socket_.fd(), [this] { socket_ready(); }));
  if (requests_.fd()) TRY(loop_.watch(requests_.fd(), [this] { back_end_request_ready(); }));
  return {};
}

bool FrontEnd::start(std::uint64_t features, std::span<const QueueSetup> queues) {
  const bool packed = (features & kRingPacked) != 0;
  for (const QueueSetup& queue : queues)
    if (queue.enabled && !rings_in_ram(ram_.bytes, queue, packed)) return false;

  state_ = State::Running;
  packed_ = packed;
  // A packed ring begins with both wrap counters at 1 (virtio 1.2, 2.8.1).
  if (fresh_) std::ranges::fill(bases_, packed ? 0x8000'8000u : 0u);
  fresh_ = false;
  const std::uint64_t all_features = features | (negotiates_ ? ipc::vhost_user::kProtocolFeaturesBit : 0);
  queue_message(Request::SetFeatures, payload_of(all_features), {});
  queue_memory_table();
  for (std::uint16_t i = 0; i < queues.size(); ++i)
    if (queues[i].enabled) queue_ring(i, queues[i]);
  if (has(ProtocolFeature::Status)) queue_message(Request::SetStatus, payload_of(kDriverOk), {});
  send_pending();
  return true;
}

void FrontEnd::queue_memory_table() {
  std::vector<MemoryRegion> regions;
  for (const layout::RamRange& range : {layout::low_ram(ram_.bytes), layout::high_ram(ram_.bytes)})
    if (range.bytes != 0)
      regions.push_back({.guest_address = range.base.value,
                         .size = range.bytes,
                         .user_address = kUserBase + range.base.value,
                         .mmap_offset = range.file_offset});
  const MemoryTableHeader header{.regions = static_cast<std::uint32_t>(regions.size()), .padding = 0};
  std::vector<std::byte> payload(sizeof header + regions.size() * sizeof(MemoryRegion));
  std::memcpy(payload.data(), &header, sizeof header);
  std::memcpy(payload.data() + sizeof header, regions.data(), regions.size() * sizeof(MemoryRegion));
  queue_message(Request::SetMemTable, payload, std::vector(regions.size(), ram_.memfd.get()));
}

void FrontEnd::queue_ring(std::uint16_t queue, const QueueSetup& setup) {
  queue_state(Request::SetVringNum, queue, setup.size);
  queue_state(Request::SetVringBase, queue, bases_[queue]);
  const VringAddr address{.index = queue,
                          .flags = 0,
                          .descriptor = kUserBase + setup.descriptors,
                          .used = kUserBase + setup.device,
                          .available = kUserBase + setup.driver,
                          .log = 0};
  queue_message(Request::SetVringAddr, payload_of(address), {});
  const std::uint64_t index = queue;
  queue_message(Request::SetVringCall, payload_of(index), {descriptors_.calls[queue].get()});
  // The kick comes last: with it the ring starts.
  queue_message(Request::SetVringKick, payload_of(index), {descriptors_.kicks[queue].get()});
  if (negotiates_) queue_state(Request::SetVringEnable, queue, 1);
  started_[queue] = true;
}

void FrontEnd::stop(Stop how) {
  state_ = State::Stopping;
  how_ = how;
  for (std::uint16_t i = 0; i < queues(); ++i) {
    if (!started_[i]) continue;
    if (negotiates_) queue_state(Request::SetVringEnable, i, 0);
    queue_state(Request::GetVringBase, i, 0);  // it answers when the ring has stopped
    started_[i] = false;
  }
  if (how == Stop::Reset) {
    const std::uint64_t status = 0;
    if (has(ProtocolFeature::Status))
      queue_message(Request::SetStatus, payload_of(status), {});
    else if (has(ProtocolFeature::ResetDevice))
      queue_message(Request::ResetDevice, {}, {});
  }
  send_pending();
}

void FrontEnd::finish_stop() {
  if (state_ != State::Stopping || !expected_.empty() || !outgoing_.empty()) return;
  state_ = State::Stopped;
  if (how_ == Stop::Reset) fresh_ = true;
  if (listener_ != nullptr) listener_->back_end_stopped();
}

void FrontEnd::write_config(std::size_t offset, std::span<const std::byte> bytes) {
  if (state_ == State::Failed || offset >= config_.size() || bytes.size() > config_.size() - offset) return;
  // A driver that writes faster than the back end listens loses what it writes.
  if (outgoing_.size() + expected_.size() > kMaxQueuedMessages / 4) return;
  const ConfigHeader header{
      .offset = static_cast<std::uint32_t>(offset), .size = static_cast<std::uint32_t>(bytes.size()), .flags = 0};
  std::vector<std::byte> payload(sizeof header + bytes.size());
  std::memcpy(payload.data(), &header, sizeof header);
  std::ranges::copy(bytes, payload.begin() + sizeof header);
  std::ranges::copy(bytes, config_.begin() + static_cast<std::ptrdiff_t>(offset));
  queue_message(Request::SetConfig, payload, {});
  if (!has(ProtocolFeature::ReplyAck)) fetch_config();  // what became of it
  send_pending();
}

void FrontEnd::fetch_config() {
  if (config_.empty()) return;
  if (std::exchange(fetching_config_, true)) {
    fetch_config_again_ = true;
    return;
  }
  std::vector<std::byte> payload(sizeof(ConfigHeader) + config_.size());
  const ConfigHeader header{.offset = 0, .size = static_cast<std::uint32_t>(config_.size()), .flags = 0};
  std::memcpy(payload.data(), &header, sizeof header);
  queue_message(Request::GetConfig, payload, {});
}

void FrontEnd::queue_state(Request request, std::uint16_t queue, std::uint32_t value) {
  const VringState state{.index = queue, .num = value};
  queue_message(request, payload_of(state), {}, queue);
}

void FrontEnd::queue_message(Request request, std::span<const std::byte> payload, std::vector<int> fds,
                             std::uint16_t queue) {
  outgoing_.push_back({.request = request,
                       .payload = std::vector(payload.begin(), payload.end()),
                       .fds = std::move(fds),
                       .queue = queue});
}

void FrontEnd::send_pending() {
  if (state_ == State::Failed) return;
  if (outgoing_.size() + expected_.size() > kMaxQueuedMessages)
    return fail({EPROTO, "vhost-user: the back end does not answer"});
  while (!outgoing_.empty()) {
    const Outgoing& message = outgoing_.front();
    const bool acknowledged = has(ProtocolFeature::ReplyAck) && !has_own_reply(message.request);
    const auto sent = socket_.send(static_cast<std::uint32_t>(message.request),
                                   acknowledged ? ipc::vhost_user::kNeedReplyFlag : 0, message.payload, message.fds);
    if (!sent && sent.error().code == EAGAIN) break;
    if (!sent) return fail(sent.error());
    if (acknowledged || has_own_reply(message.request))
      expected_.push_back({.request = message.request, .queue = message.queue});
    outgoing_.pop_front();
  }
  const bool writable = !outgoing_.empty();
  if (writable != watching_writable_) {
    if (auto watched = loop_.watch_writable(socket_.fd(), writable); !watched) return fail(watched.error());
    watching_writable_ = writable;
  }
  arm_timer();
  finish_stop();
}

void FrontEnd::socket_ready() {
  for (int i = 0; i < kMessagesPerRound; ++i) {
    auto message = socket_.receive();
    if (!message) return fail(message.error());
    if (!*message) break;
    if (auto accepted = accept_reply(**message); !accepted) return fail(accepted.error());
    if (state_ == State::Failed) return;
  }
  send_pending();
}

ipc::Result<> FrontEnd::accept_reply(const Message& message) {
  if (!message.is_reply() || expected_.empty() ||
      message.request != static_cast<std::uint32_t>(expected_.front().request))
    return ipc::failure(EPROTO,
                        fmt::format("vhost-user: message {} from the back end answers nothing", message.request));
  const Expected expected = expected_.front();
  expected_.pop_front();
  const char* name = name_of(expected.request);
  if (!message.fds.empty()) return ipc::failure(EPROTO, fmt::format("vhost-user {}: descriptors in the answer", name));
  if (expected.request == Request::GetConfig) return accept_config(message);

  if (expected.request == Request::GetVringBase) {
    const auto state = message.as<VringState>();
    if (!state || state->index != expected.queue || (!packed_ && state->num > 0xffff))
      return ipc::failure(EPROTO, fmt::format("vhost-user {}: the answer is malformed", name));
    bases_[expected.queue] = state->num;
    return {};
  }
  const auto result = message.as<std::uint64_t>();
  if (!result) return ipc::failure(EPROTO, fmt::format("vhost-user {}: the answer is malformed", name));
  if (*result == 0) return {};
  if (expected.request != Request::SetConfig)
    return ipc::failure(EPROTO, fmt::format("vhost-user {}: the back end refuses", name));
  fetch_config();  // the driver wrote what cannot be written: it reads the truth again
  return {};
}

ipc::Result<> FrontEnd::accept_config(const Message& message) {
  fetching_config_ = false;
  ConfigHeader header;
  if (message.payload.size() != sizeof header + config_.size())
    return ipc::failure(EPROTO, "vhost-user GET_CONFIG: the answer has another size than was asked for");
  std::memcpy(&header, message.payload.data(), sizeof header);
  if (header.offset != 0 || header.size != config_.size())
    return ipc::failure(EPROTO, "vhost-user GET_CONFIG: the answer is malformed");
  const std::span<const std::byte> bytes = std::span(message.payload).subspan(sizeof header);
  const bool changed = !std::ranges::equal(bytes, config_);
  std::ranges::copy(bytes, config_.begin());
  if (std::exchange(fetch_config_again_, false)) fetch_config();
  if (changed && listener_ != nullptr) listener_->back_end_config_changed();
  return {};
}

void FrontEnd::back_end_request_ready() {
  for (int i = 0; i < kMessagesPerRound; ++i) {
    auto message = requests_.receive();
    if (!message && message.error().code == EPIPE) {  // it has nothing more to say
      loop_.unwatch(requests_.fd());
      requests_ = ipc::vhost_user::Socket();
      return;
    }
    if (!message) return fail(message.error());
    if (!*message) break;
    if (auto accepted = accept_request(**message); !accepted) return fail(accepted.error());
  }
  send_pending();
}

ipc::Result<> FrontEnd::accept_request(const Message& message) {
  if (message.is_reply()) return ipc::failure(EPROTO, "vhost-user: an answer on the back end's channel");
  const bool known = message.request == static_cast<std::uint32_t>(BackendRequest::ConfigChangeMsg);
  if (known) fetch_config();
  if (!message.needs_reply()) return {};
  const std::uint64_t result = known ? 0 : 1;
  return requests_.send(message.request, ipc::vhost_user::kReplyFlag, payload_of(result));
}

// The limit is for the next answer, not for all: a long list of requests takes its time.
void FrontEnd::arm_timer() {
  itimerspec timer{};
  if (!expected_.empty() || !outgoing_.empty()) {
    timer.it_value.tv_sec = limits_.reply.count() / 1000;
    timer.it_value.tv_nsec = limits_.reply.count() % 1000 * 1'000'000;
  }
  ::timerfd_settime(timer_.get(), 0, &timer, nullptr);
}

void FrontEnd::timer_expired() {
  if (!is_signalled(timer_)) return;  // an answer of this very round has set it anew
  drain(timer_);
  const char* name = name_of(expected_.empty() ? outgoing_.empty() ? Request::None : outgoing_.front().request
                                               : expected_.front().request);
  fail({ETIMEDOUT, fmt::format("vhost-user {}: no answer from the back end", name)});
}

void FrontEnd::fail(ipc::Error reason) {
  if (state_ == State::Failed) return;
  loop_.unwatch(socket_.fd());
  loop_.unwatch(requests_.fd());
  loop_.unwatch(timer_);
  state_ = State::Failed;
  socket_ = ipc::vhost_user::Socket();
  requests_ = ipc::vhost_user::Socket();
  outgoing_.clear();
  expected_.clear();
  if (listener_ != nullptr) listener_->back_end_failed(reason);
}

}  // namespace vcpu_host
