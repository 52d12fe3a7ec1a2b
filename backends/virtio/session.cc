#include "backends/virtio/session.h"

#include <algorithm>
#include <cstddef>

#include "backends/virtio/features.h"

namespace virtio {
namespace {

using ipc::failure;
using ipc::Result;
using ipc::vhost_user::bit;
using ipc::vhost_user::ProtocolFeature;
using ipc::vhost_user::Request;

constexpr std::uint64_t kRingFeatures = kVersion1 | kIndirectDesc | kEventIdx | kRingPacked | kLogAll;

constexpr std::uint64_t kProtocolFeatures =
    bit(ProtocolFeature::Mq) | bit(ProtocolFeature::ReplyAck) | bit(ProtocolFeature::Config) |
    bit(ProtocolFeature::ResetDevice) | bit(ProtocolFeature::ConfigureMemSlots) | bit(ProtocolFeature::Status) |
    bit(ProtocolFeature::BackendReq) | bit(ProtocolFeature::InflightShmfd) | bit(ProtocolFeature::LogShmfd) |
    bit(ProtocolFeature::DeviceState) | bit(ProtocolFeature::GetVringBaseInflight);

}  // namespace

// What a message must look like. Its handler runs only for one that does.
struct Session::Handler {
  Request request;
  std::string_view name;
  std::size_t min_payload;
  std::size_t max_payload;
  std::size_t min_fds;
  std::size_t max_fds;
  bool at_rest;  // handled only when no request is in flight
  Answer answer;
  std::optional<ProtocolFeature> needed;  // must have been negotiated
  Result<> (Session::*handle)(Message&);
};

namespace {

constexpr std::size_t kU64 = sizeof(std::uint64_t);
constexpr std::size_t kState = sizeof(ipc::vhost_user::VringState);
constexpr std::size_t kAddr = sizeof(ipc::vhost_user::VringAddr);
constexpr std::size_t kSingleRegion = sizeof(ipc::vhost_user::SingleMemoryRegion);
constexpr std::size_t kTable = sizeof(ipc::vhost_user::MemoryTableHeader);
constexpr std::size_t kRegion = sizeof(ipc::vhost_user::MemoryRegion);
constexpr std::size_t kTableRegions = ipc::vhost_user::kMaxMemoryTableRegions;
constexpr std::size_t kConfig = sizeof(ipc::vhost_user::ConfigHeader);
constexpr std::size_t kMaxConfig = kConfig + ipc::vhost_user::kMaxConfigBytes;
// QEMU, DPDK and SPDK send the structure with its padding, others without.
constexpr std::size_t kInflight = offsetof(ipc::vhost_user::Inflight, padding);
constexpr std::size_t kPaddedInflight = sizeof(ipc::vhost_user::Inflight);
constexpr bool kAtRest = true;
constexpr std::size_t kLog = sizeof(ipc::vhost_user::Log);
constexpr std::size_t kStateTransfer = sizeof(ipc::vhost_user::DeviceState);
constexpr std::optional<ProtocolFeature> kAlways = std::nullopt;

}  // namespace

// clang-format off
const Session::Handler Session::kHandlers[] = {
    {Request::GetFeatures, "GET_FEATURES", 0, 0, 0, 0, !kAtRest, Answer::Own, kAlways, &Session::get_features},
    {Request::SetFeatures, "SET_FEATURES", kU64, kU64, 0, 0, kAtRest, Answer::IfAsked, kAlways, &Session::set_features},
    {Request::SetOwner, "SET_OWNER", 0, 0, 0, 0, !kAtRest, Answer::IfAsked, kAlways, &Session::accept_silently},
    {Request::ResetOwner, "RESET_OWNER", 0, 0, 0, 0, !kAtRest, Answer::IfAsked, kAlways, &Session::accept_silently},
    {Request::SetMemTable, "SET_MEM_TABLE", kTable + kRegion, kTable + kTableRegions * kRegion, 1, kTableRegions, kAtRest, Answer::IfAsked, kAlways, &Session::set_mem_table},
    {Request::SetLogBase, "SET_LOG_BASE", kLog, kLog, 1, 1, kAtRest, Answer::Always, ProtocolFeature::LogShmfd, &Session::set_log_base},
    {Request::SetLogFd, "SET_LOG_FD", 0, 0, 1, 1, !kAtRest, Answer::IfAsked, ProtocolFeature::LogShmfd, &Session::set_log_fd},
    {Request::SetVringNum, "SET_VRING_NUM", kState, kState, 0, 0, !kAtRest, Answer::IfAsked, kAlways, &Session::set_vring_num},
    {Request::SetVringAddr, "SET_VRING_ADDR", kAddr, kAddr, 0, 0, kAtRest, Answer::IfAsked, kAlways, &Session::set_vring_addr},
    {Request::SetVringBase, "SET_VRING_BASE", kState, kState, 0, 0, !kAtRest, Answer::IfAsked, kAlways, &Session::set_vring_base},
    {Request::GetVringBase, "GET_VRING_BASE", kState, kState, 0, 0, kAtRest, Answer::Own, kAlways, &Session::get_vring_base},
    {Request::SetVringKick, "SET_VRING_KICK", kU64, kU64, 0, 1, kAtRest, Answer::IfAsked, kAlways, &Session::set_vring_kick},
    {Request::SetVringCall, "SET_VRING_CALL", kU64, kU64, 0, 1, !kAtRest, Answer::IfAsked, kAlways, &Session::set_vring_call},
    {Request::SetVringErr, "SET_VRING_ERR", kU64, kU64, 0, 1, !kAtRest, Answer::IfAsked, kAlways, &Session::set_vring_err},
    {Request::GetProtocolFeatures, "GET_PROTOCOL_FEATURES", 0, 0, 0, 0, !kAtRest, Answer::Own, kAlways, &Session::get_protocol_features},
    {Request::SetProtocolFeatures, "SET_PROTOCOL_FEATURES", kU64, kU64, 0, 0, !kAtRest, Answer::IfAsked, kAlways, &Session::set_protocol_features},
    {Request::GetQueueNum, "GET_QUEUE_NUM", 0, 0, 0, 0, !kAtRest, Answer::Own, ProtocolFeature::Mq, &Session::get_queue_num},
    {Request::SendRarp, "SEND_RARP", kU64, kU64, 0, 0, !kAtRest, Answer::IfAsked, ProtocolFeature::Rarp, &Session::send_rarp},
    {Request::NetSetMtu, "NET_SET_MTU", kU64, kU64, 0, 0, !kAtRest, Answer::IfAsked, ProtocolFeature::Mtu, &Session::net_set_mtu},
    {Request::SetVringEnable, "SET_VRING_ENABLE", kState, kState, 0, 0, kAtRest, Answer::IfAsked, kAlways, &Session::set_vring_enable},
    {Request::SetBackendReqFd, "SET_BACKEND_REQ_FD", 0, 0, 1, 1, !kAtRest, Answer::IfAsked, ProtocolFeature::BackendReq, &Session::set_backend_req_fd},
    {Request::GetConfig, "GET_CONFIG", kConfig, kMaxConfig, 0, 0, !kAtRest, Answer::Own, ProtocolFeature::Config, &Session::get_config},
    {Request::SetConfig, "SET_CONFIG", kConfig, kMaxConfig, 0, 0, !kAtRest, Answer::IfAsked, ProtocolFeature::Config, &Session::set_config},
    {Request::GetInflightFd, "GET_INFLIGHT_FD", kInflight, kPaddedInflight, 0, 0, !kAtRest, Answer::Own, ProtocolFeature::InflightShmfd, &Session::get_inflight_fd},
    {Request::SetInflightFd, "SET_INFLIGHT_FD", kInflight, kPaddedInflight, 1, 1, !kAtRest, Answer::IfAsked, ProtocolFeature::InflightShmfd, &Session::set_inflight_fd},
    {Request::ResetDevice, "RESET_DEVICE", 0, 0, 0, 0, kAtRest, Answer::IfAsked, ProtocolFeature::ResetDevice, &Session::reset_device},
    {Request::GetMaxMemSlots, "GET_MAX_MEM_SLOTS", 0, 0, 0, 0, !kAtRest, Answer::Own, ProtocolFeature::ConfigureMemSlots, &Session::get_max_mem_slots},
    {Request::AddMemReg, "ADD_MEM_REG", kSingleRegion, kSingleRegion, 1, 1, !kAtRest, Answer::IfAsked, ProtocolFeature::ConfigureMemSlots, &Session::add_mem_reg},
    {Request::RemMemReg, "REM_MEM_REG", kSingleRegion, kSingleRegion, 0, 1, kAtRest, Answer::IfAsked, ProtocolFeature::ConfigureMemSlots, &Session::rem_mem_reg},
    {Request::SetStatus, "SET_STATUS", kU64, kU64, 0, 0, kAtRest, Answer::IfAsked, ProtocolFeature::Status, &Session::set_status},
    {Request::GetStatus, "GET_STATUS", 0, 0, 0, 0, !kAtRest, Answer::Own, ProtocolFeature::Status, &Session::get_status},
    {Request::SetDeviceStateFd, "SET_DEVICE_STATE_FD", kStateTransfer, kStateTransfer, 1, 1, !kAtRest, Answer::Own, ProtocolFeature::DeviceState, &Session::set_device_state_fd},
    {Request::CheckDeviceState, "CHECK_DEVICE_STATE", 0, 0, 0, 0, !kAtRest, Answer::Own, ProtocolFeature::DeviceState, &Session::check_device_state},
};
// clang-format on

const Session::Handler* Session::find(std::uint32_t request) {
  const auto* found = std::ranges::find(kHandlers, static_cast<Request>(request), &Handler::request);
  return found == std::end(kHandlers) ? nullptr : found;
}

Result<> Session::handle(Message message) {
  const Handler* handler = find(message.request);
  if (handler != nullptr && handler->request == Request::GetVringBase && check(handler, message)) suspend_ring(message);
  if (handler != nullptr && handler->at_rest && !at_rest()) {
    held_ = std::move(message);
    return {};
  }
  return answer(handler, message);
}

Result<> Session::resume() {
  if (!held_ || !at_rest()) return {};
  Message message = std::move(*held_);
  held_.reset();
  return answer(find(message.request), message);
}

Result<> Session::answer(const Handler* handler, Message& message) {
  Result<> result = check(handler, message);
  // As it was before the message: SET_PROTOCOL_FEATURES is not yet subject to what it negotiates.
  const bool acknowledge = negotiated(ProtocolFeature::ReplyAck) && message.needs_reply() &&
                           (handler == nullptr || handler->answer != Answer::Own);
  if (result) result = (this->*handler->handle)(message);
  if (!acknowledge) return result && handler->answer == Answer::Always ? reply_number(message, 0) : result;
  const bool refused = !result;
  if (refused) refusal_ = std::move(result).error();
  return reply_number(message, refused ? 1 : 0);
}

Result<> Session::check(const Handler* handler, const Message& message) const {
  if (handler == nullptr) return failure(EOPNOTSUPP, fmt::format("vhost-user: unknown request {}", message.request));
  if (message.is_reply()) return failure(EPROTO, fmt::format("vhost-user: {} came as a reply", handler->name));
  if (handler->needed && !negotiated(*handler->needed))
    return failure(EPROTO, fmt::format("vhost-user: {} without its protocol feature", handler->name));
  const std::size_t size = message.payload.size();
  const std::size_t fds = message.fds.size();
  if (size < handler->min_payload || size > handler->max_payload || fds < handler->min_fds || fds > handler->max_fds)
    return failure(EINVAL, fmt::format("vhost-user: {} of {} bytes with {} descriptors", handler->name, size, fds));
  return {};
}

Result<> Session::reply(const Message& message, std::span<const std::byte> payload) {
  return socket_.send(message.request, ipc::vhost_user::kReplyFlag, payload);
}

bool Session::at_rest() const {
  return std::ranges::none_of(rings_, [](const Vring& ring) { return ring.running() && ring.queue_->in_flight() > 0; });
}

std::uint64_t Session::offered_features() const {
  return device_.features() | kRingFeatures | ipc::vhost_user::kProtocolFeaturesBit;
}

std::uint64_t Session::offered_protocol_features() const {
  return kProtocolFeatures | device_.protocol_features();
}

Result<> Session::send_rarp(Message& message) {
  return device_.announce(*message.as<std::uint64_t>());
}

Result<> Session::net_set_mtu(Message& message) {
  return device_.set_mtu(*message.as<std::uint64_t>());
}

Result<> Session::accept_silently(Message&) {
  // SET_OWNER: a connection has one owner, its peer. RESET_OWNER is deprecated, and to be ignored.
  return {};
}

Result<> Session::get_features(Message& message) {
  return reply_number(message, offered_features());
}

Result<> Session::set_features(Message& message) {
  const std::uint64_t features = *message.as<std::uint64_t>();
  if ((features & ~offered_features()) != 0)
    return failure(EINVAL, fmt::format("vhost-user: features {:#x} of which not all were offered", features));
  if (features == features_) return {};
  if ((features ^ features_) == kLogAll) return log_all((features & kLogAll) != 0);
  if (std::ranges::any_of(rings_, &Vring::running))
    return failure(EBUSY, "vhost-user: features cannot change while a ring runs");
  features_ = features;
  device_.accept(features & device_.features());
  return {};
}

Result<> Session::get_protocol_features(Message& message) {
  return reply_number(message, offered_protocol_features());
}

Result<> Session::set_protocol_features(Message& message) {
  const std::uint64_t features = *message.as<std::uint64_t>();
  if ((features & ~offered_protocol_features()) != 0)
    return failure(EINVAL, fmt::format("vhost-user: protocol features {:#x} of which not all were offered", features));
  if ((features & bit(ProtocolFeature::GetVringBaseInflight)) != 0 &&
      (features & bit(ProtocolFeature::InflightShmfd)) == 0)
    return failure(EINVAL, "vhost-user: GET_VRING_BASE_INFLIGHT without INFLIGHT_SHMFD");
  protocol_features_ = features;
  return {};
}

Result<> Session::get_queue_num(Message& message) {
  return reply_number(message, device_.queues());
}

Result<> Session::get_max_mem_slots(Message& message) {
  return reply_number(message, ipc::vhost_user::kMaxMemoryRegions);
}

Result<> Session::get_config(Message& message) {
  ipc::vhost_user::ConfigHeader header;
  std::memcpy(&header, message.payload.data(), sizeof header);
  const std::size_t room = message.payload.size() - sizeof header;
  if (header.size != room || header.offset > ipc::vhost_user::kMaxConfigBytes - room) return reply(message, {});
  // Fields beyond those that this device has read as zero.
  std::array<std::byte, ipc::vhost_user::kMaxConfigBytes> space{};
  std::ranges::copy(device_.config(), space.begin());
  std::ranges::copy(std::span(space).subspan(header.offset, room), message.payload.begin() + sizeof header);
  return reply(message, message.payload);
}

Result<> Session::set_config(Message& message) {
  ipc::vhost_user::ConfigHeader header;
  std::memcpy(&header, message.payload.data(), sizeof header);
  const std::span<const std::byte> bytes = std::span(message.payload).subspan(sizeof header);
  const std::size_t space = device_.config().size();
  if (header.size != bytes.size() || header.offset > space || bytes.size() > space - header.offset || header.flags > 1)
    return failure(EINVAL, fmt::format("vhost-user: SET_CONFIG of {} bytes at {}", header.size, header.offset));
  return device_.configure(header.offset, bytes);
}

Result<> Session::set_backend_req_fd(Message& message) {
  back_channel_ = ipc::vhost_user::Socket(std::move(message.fds[0]));
  return {};
}

Result<> Session::config_changed() {
  if (!back_channel_.fd()) return {};
  return back_channel_.send(static_cast<std::uint32_t>(ipc::vhost_user::BackendRequest::ConfigChangeMsg), 0, {});
}

Result<> Session::reset_device(Message&) {
  reset_rings();
  forget_inflight();  // it tells of rings that are no more: a front end that goes on with it gives it again
  features_ = 0;
  status_ = 0;
  loading_ = ipc::UniqueFd();
  device_.accept(0);
  return {};
}

Result<> Session::get_status(Message& message) {
  return reply_number(message, status_);
}

Result<> Session::set_status(Message& message) {
  const std::uint64_t status = *message.as<std::uint64_t>();
  if (status > 0xff) return failure(EINVAL, "vhost-user: device status of more than 8 bits");
  if (status == 0) return reset_device(message);  // virtio 1.2, 2.1.2: writing 0 resets the device
  status_ = static_cast<std::uint8_t>(status);
  return {};
}

}  // namespace virtio
