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
constexpr std::size_t kMaxConfigWrites = 64;
constexpr int kMessagesPerRound = 64;
// Ring addresses are the front end's virtual ones. It maps no ring: any numbers do that agree with the memory table.
constexpr std::uint64_t kUserBase = std::uint64_t{1} << 44;
constexpr std::uint64_t kDriverOk = 0x0f;  // ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK

bool has_own_reply(Request request) {
  switch (request) {
    case Request::GetFeatures:
    case Request::GetProtocolFeatures:
    case Request::GetQueueNum:
    case Request::GetConfig:
    case Request::GetInflightFd:
    case Request::GetVringBase:
      return true;
    default:
      return false;
  }
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
  drop_connection();
  if (timer_) loop_.unwatch(timer_);
}

bool FrontEnd::has(ProtocolFeature feature) const {
  return (protocol_features_ & bit(feature)) != 0;
}

bool FrontEnd::start(std::uint64_t features, std::span<const QueueSetup> queues) {
  if ((features & ~features_) != 0) return false;  // another back end than the driver has asked
  const bool packed = (features & kRingPacked) != 0;
  for (const QueueSetup& queue : queues)
    if (queue.enabled && !rings_in_ram(ram_.bytes, queue, packed)) return false;

  state_ = State::Running;
  packed_ = packed;
  setups_.assign(queues.begin(), queues.end());
  // A packed ring begins with both wrap counters at 1 (virtio 1.2, 2.8.1).
  if (fresh_) std::ranges::fill(bases_, packed ? 0x8000'8000u : 0u);
  if (unknown_bases_ && !packed)
    for (std::uint16_t i = 0; i < setups_.size(); ++i)
      if (setups_[i].enabled) bases_[i] = used_index(setups_[i]);
  if (fresh_ && used_) queue_reset();  // the driver reset the device while it was paused
  const std::uint64_t all_features = features | (negotiates_ ? ipc::vhost_user::kProtocolFeaturesBit : 0);
  queue_message(Request::SetFeatures, payload_of(all_features));
  if (!tracks_inflight()) {
    queue_rings();
  } else if (inflight_) {
    queue_inflight(Request::SetInflightFd);
    queue_rings();
  } else {
    queue_inflight(Request::GetInflightFd);  // the rings follow its answer
  }
  send_pending();
  return true;
}

// Vhost-user.rst, "Inflight I/O tracking": one record for all rings. Of packed rings it fits one size alone.
bool FrontEnd::tracks_inflight() const {
  if (!has(ProtocolFeature::InflightShmfd)) return false;
  std::optional<std::uint16_t> size;
  for (const QueueSetup& queue : setups_) {
    if (!queue.enabled) continue;
    if (packed_ && size && *size != queue.size) return false;
    size = queue.size;
  }
  return size.has_value();
}

void FrontEnd::queue_inflight(Request request) {
  if (request == Request::GetInflightFd) {
    inflight_layout_ = {};
    inflight_layout_.queues = queues();
    for (const QueueSetup& queue : setups_)
      if (queue.enabled) inflight_layout_.queue_size = std::max(inflight_layout_.queue_size, queue.size);
    return queue_message(request, payload_of(inflight_layout_));
  }
  queue_message(request, payload_of(inflight_layout_), {inflight_.get()});
}

ipc::Result<> FrontEnd::accept_inflight(Message& message) {
  const auto layout = message.as<ipc::vhost_user::Inflight>();
  if (!layout || message.fds.size() > 1)
    return ipc::failure(EPROTO, "vhost-user GET_INFLIGHT_FD: the answer is malformed");
  if (state_ != State::Running) return {};  // stopped before it began
  if (message.fds.empty()) {                // it keeps none, whatever it has agreed to
    queue_rings();
    return {};
  }
  inflight_ = std::move(message.fds.front());
  inflight_layout_.mmap_size = layout->mmap_size;
  inflight_layout_.mmap_offset = layout->mmap_offset;
  queue_inflight(Request::SetInflightFd);
  queue_rings();
  return {};
}

// Where the driver has seen the last completion: there a back end goes on that was told nothing better.
std::uint16_t FrontEnd::used_index(const QueueSetup& setup) const {
  const auto header = ram_.memory.slice(ipc::GuestAddress{setup.device}, 4);
  const auto halves = header ? header->objects<std::uint16_t>(2) : std::nullopt;
  return halves ? ipc::load_once((*halves)[1]) : std::uint16_t{0};
}

void FrontEnd::queue_rings() {
  fresh_ = false;
  used_ = true;
  unknown_bases_ = false;
  queue_memory_table();
  for (std::uint16_t i = 0; i < setups_.size(); ++i)
    if (setups_[i].enabled) queue_ring(i, setups_[i]);
  if (has(ProtocolFeature::Status)) queue_message(Request::SetStatus, payload_of(kDriverOk));
  if (std::exchange(replay_config_, false))
    for (const ConfigWrite& write : config_writes_) queue_config(write);
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
  queue_message(Request::SetVringAddr, payload_of(address));
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
  if (how == Stop::Reset) queue_reset();
  send_pending();
}

void FrontEnd::queue_reset() {
  used_ = false;
  const std::uint64_t status = 0;
  if (has(ProtocolFeature::Status))
    queue_message(Request::SetStatus, payload_of(status));
  else if (has(ProtocolFeature::ResetDevice))
    queue_message(Request::ResetDevice);
}

void FrontEnd::forget_rings() {
  fresh_ = true;
  unknown_bases_ = false;
  inflight_ = ipc::UniqueFd();
  config_writes_.clear();
}

// What was asked for has been answered.
void FrontEnd::settle() {
  if (!expected_.empty() || !outgoing_.empty()) return;
  switch (state_) {
    case State::Greeting:
      requester_ = ipc::UniqueFd();
      greeted_once_ = true;
      state_ = State::Stopped;
      if (listener_ != nullptr) listener_->back_end_stopped();
      if (state_ == State::Stopped) tell_replaced();
      return;
    case State::Stopping:
      state_ = State::Stopped;
      if (how_ == Stop::Reset) forget_rings();
      if (listener_ != nullptr) listener_->back_end_stopped();
      return;
    case State::Running:
      return tell_replaced();
    case State::Stopped:
    case State::Lost:
      return;
  }
}

void FrontEnd::tell_replaced() {
  if (!lost_at_) return;
  const auto gap = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - *lost_at_);
  lost_at_.reset();
  if (listener_ != nullptr) listener_->back_end_replaced(gap);
}

void FrontEnd::write_config(std::size_t offset, std::span<const std::byte> bytes) {
  if (offset >= config_.size() || bytes.size() > config_.size() - offset) return;
  // A driver that writes faster than the back end listens loses what it writes.
  if (outgoing_.size() + expected_.size() > kMaxQueuedMessages / 4) return;
  std::ranges::copy(bytes, config_.begin() + static_cast<std::ptrdiff_t>(offset));
  ConfigWrite write{.offset = offset, .bytes = {bytes.begin(), bytes.end()}};
  std::erase_if(config_writes_,
                [&](const ConfigWrite& older) { return older.offset == offset && older.bytes.size() == bytes.size(); });
  if (config_writes_.size() == kMaxConfigWrites) config_writes_.erase(config_writes_.begin());
  config_writes_.push_back(write);
  if (state_ == State::Lost || state_ == State::Greeting) return;
  queue_config(write);
  send_pending();
}

void FrontEnd::queue_config(const ConfigWrite& write) {
  const ConfigHeader header{.offset = static_cast<std::uint32_t>(write.offset),
                            .size = static_cast<std::uint32_t>(write.bytes.size()),
                            .flags = 0};
  std::vector<std::byte> payload(sizeof header + write.bytes.size());
  std::memcpy(payload.data(), &header, sizeof header);
  std::ranges::copy(write.bytes, payload.begin() + sizeof header);
  queue_message(Request::SetConfig, payload);
  if (!has(ProtocolFeature::ReplyAck)) fetch_config();  // what became of it
}

void FrontEnd::fetch_config() {
  if (config_.empty() || state_ == State::Lost || state_ == State::Greeting) return;
  if (std::exchange(fetching_config_, true)) {
    fetch_config_again_ = true;
    return;
  }
  std::vector<std::byte> payload(sizeof(ConfigHeader) + config_.size());
  const ConfigHeader header{.offset = 0, .size = static_cast<std::uint32_t>(config_.size()), .flags = 0};
  std::memcpy(payload.data(), &header, sizeof header);
  queue_message(Request::GetConfig, payload);
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
                       .queue = queue,
                       .acknowledged = has(ProtocolFeature::ReplyAck) && !has_own_reply(request)});
}

void FrontEnd::send_pending() {
  if (state_ == State::Lost) return;
  if (outgoing_.size() + expected_.size() > kMaxQueuedMessages)
    return lose({ETIMEDOUT, "vhost-user: the back end does not answer"});
  while (!outgoing_.empty()) {
    const Outgoing& message = outgoing_.front();
    const auto sent =
        socket_.send(static_cast<std::uint32_t>(message.request),
                     message.acknowledged ? ipc::vhost_user::kNeedReplyFlag : 0, message.payload, message.fds);
    if (!sent && sent.error().code == EAGAIN) break;
    if (!sent) return lose(sent.error());
    if (message.acknowledged || has_own_reply(message.request))
      expected_.push_back({.request = message.request, .queue = message.queue});
    outgoing_.pop_front();
  }
  const bool writable = !outgoing_.empty();
  if (writable != watching_writable_) {
    if (auto watched = loop_.watch_writable(socket_.fd(), writable); !watched) return lose(watched.error());
    watching_writable_ = writable;
  }
  arm_timer();
  settle();
}

void FrontEnd::socket_ready() {
  for (int i = 0; i < kMessagesPerRound; ++i) {
    auto message = socket_.receive();
    if (!message) return lose(message.error());
    if (!*message) break;
    if (auto accepted = accept_reply(**message); !accepted) return lose(accepted.error());
    if (state_ == State::Lost) return;
  }
  send_pending();
}

ipc::Result<> FrontEnd::accept_reply(Message& message) {
  if (!message.is_reply() || expected_.empty() ||
      message.request != static_cast<std::uint32_t>(expected_.front().request))
    return ipc::failure(EPROTO,
                        fmt::format("vhost-user: message {} from the back end answers nothing", message.request));
  const Expected expected = expected_.front();
  expected_.pop_front();
  const char* name = name_of(expected.request);
  if (expected.request == Request::GetInflightFd) return accept_inflight(message);
  if (!message.fds.empty()) return ipc::failure(EPROTO, fmt::format("vhost-user {}: descriptors in the answer", name));
  if (state_ == State::Greeting && has_own_reply(expected.request)) return accept_greeting(message, expected.request);
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
  std::vector<std::byte> bytes(message.payload.begin() + sizeof header, message.payload.end());
  // What the driver wrote to one that was lost it goes on to read: it will be written again.
  if (replay_config_)
    for (const ConfigWrite& write : config_writes_)
      std::ranges::copy(write.bytes, bytes.begin() + static_cast<std::ptrdiff_t>(write.offset));
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
    if (!message) return lose(message.error());
    if (!*message) break;
    if (auto accepted = accept_request(**message); !accepted) return lose(accepted.error());
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
    const auto limit = state_ == State::Greeting ? limits_.greeting : limits_.reply;
    timer.it_value.tv_sec = limit.count() / 1000;
    timer.it_value.tv_nsec = limit.count() % 1000 * 1'000'000;
  }
  ::timerfd_settime(timer_.get(), 0, &timer, nullptr);
}

void FrontEnd::timer_expired() {
  if (!is_signalled(timer_)) return;  // an answer of this very round has set it anew
  drain(timer_);
  lose_for_silence();
}

void FrontEnd::lose_for_silence() {
  const Request request = !expected_.empty()   ? expected_.front().request
                          : !outgoing_.empty() ? outgoing_.front().request
                                               : Request::None;
  lose({ETIMEDOUT, fmt::format("vhost-user {}: no answer from the back end", name_of(request))});
}

void FrontEnd::drop_connection() {
  if (socket_.fd()) loop_.unwatch(socket_.fd());
  if (requests_.fd()) loop_.unwatch(requests_.fd());
  socket_ = ipc::vhost_user::Socket();
  requests_ = ipc::vhost_user::Socket();
  requester_ = ipc::UniqueFd();
  outgoing_.clear();
  expected_.clear();
  watching_writable_ = false;
  fetching_config_ = false;
  fetch_config_again_ = false;
}

// One that ended or fell silent can be replaced; what one did that broke the protocol is not built upon.
void FrontEnd::lose(ipc::Error reason) {
  if (state_ == State::Lost) return;
  const bool ended = reason.code == EPIPE || reason.code == ECONNRESET || reason.code == ETIMEDOUT;
  if (std::ranges::find(started_, true) != started_.end() || (state_ == State::Stopping && how_ == Stop::Pause))
    unknown_bases_ = true;
  started_.assign(started_.size(), false);
  const bool known = !unknown_bases_ || inflight_ || (descriptors_.loses_harmlessly && !packed_);
  drop_connection();
  arm_timer();
  state_ = State::Lost;
  replay_config_ = true;
  if (!lost_at_) lost_at_ = std::chrono::steady_clock::now();
  loss_ = reason;
  if (listener_ != nullptr) listener_->back_end_lost(reason, ended && known);
}

}  // namespace vcpu_host
