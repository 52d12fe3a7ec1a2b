#include "tests/bench/blk/target.h"

#include <linux/virtio_blk.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <thread>

namespace bench {
namespace {

using ipc::vhost_user::bit;
using ipc::vhost_user::ProtocolFeature;
using ipc::vhost_user::Request;
using ipc::vhost_user::VringState;

void require(bool done, const char* what) {
  if (!done) throw Failure(std::string("the back end does not ") + what);
}

// A back end that was started just now may not listen yet.
ipc::UniqueFd connect(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (path.size() >= sizeof address.sun_path) throw Failure(path + ": too long for a socket");
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto end = std::chrono::steady_clock::now() + support::kPatience;
  while (true) {
    ipc::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return socket;
    if (std::chrono::steady_clock::now() > end) throw Failure(path + ": " + std::strerror(errno));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

// In sectors: the first field of virtio_blk_config.
std::uint64_t read_capacity(support::FakeFrontEnd& front_end) {
  const ipc::vhost_user::ConfigHeader header{.offset = 0, .size = sizeof(virtio_blk_config::capacity), .flags = 0};
  std::array<std::byte, sizeof header + sizeof(virtio_blk_config::capacity)> payload{};
  std::memcpy(payload.data(), &header, sizeof header);
  require(front_end.send(static_cast<std::uint32_t>(Request::GetConfig), payload), "take GET_CONFIG");
  const auto reply = front_end.receive();
  require(reply && reply->payload.size() == payload.size(), "answer GET_CONFIG");
  std::uint64_t capacity = 0;
  std::memcpy(&capacity, reply->payload.data() + sizeof header, sizeof capacity);
  return capacity;
}

}  // namespace

Target::Target(const std::string& socket_path) {
  ipc::UniqueFd socket = connect(socket_path);
  socket_ = ipc::UniqueFd(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
  front_end_ = std::make_unique<support::FakeFrontEnd>(std::move(socket));
  const auto features = front_end_->get(Request::GetFeatures);
  const auto protocol = front_end_->get(Request::GetProtocolFeatures);
  require(features && protocol, "tell its features");
  constexpr std::uint64_t kNeeded = bit(ProtocolFeature::ReplyAck) | bit(ProtocolFeature::Config);
  require((*protocol & kNeeded) == kNeeded, "offer REPLY_ACK and CONFIG");
  const std::uint64_t accepted = *protocol & (kNeeded | bit(ProtocolFeature::Mq));
  require(front_end_->send(Request::SetProtocolFeatures, accepted), "take SET_PROTOCOL_FEATURES");
  require(front_end_->send(static_cast<std::uint32_t>(Request::SetOwner), {}), "take SET_OWNER");
  features_ = *features;
  if ((accepted & bit(ProtocolFeature::Mq)) != 0) queues_ = front_end_->get(Request::GetQueueNum).value_or(1);
  bytes_ = read_capacity(*front_end_) * 512;
}

void Target::accept(std::uint64_t features, const support::GuestRam& ram) {
  require(front_end_->ask(Request::SetFeatures, features | ipc::vhost_user::kProtocolFeaturesBit),
          "accept its own features");
  struct {
    ipc::vhost_user::MemoryTableHeader header{1, 0};
    ipc::vhost_user::MemoryRegion region;
  } table{.region = ram.region()};
  const int fd = ram.fd().get();
  require(front_end_->ask(Request::SetMemTable, table, std::span(&fd, 1)), "take the guest's memory");
}

void Target::start(std::uint32_t index, std::uint16_t size, std::uint32_t base, const RingPlaces& ring,
                   const ipc::UniqueFd& kick, const ipc::UniqueFd& call) {
  const auto to_user = [](std::uint64_t address) { return address - support::kGuestBase + support::kUserBase; };
  const ipc::vhost_user::VringAddr addresses{.index = index,
                                             .flags = 0,
                                             .descriptor = to_user(ring.descriptors),
                                             .used = to_user(ring.device_area),
                                             .available = to_user(ring.driver_area),
                                             .log = 0};
  const int kick_fd = kick.get();
  const int call_fd = call.get();
  require(front_end_->ask(Request::SetVringNum, VringState{index, size}) &&
              front_end_->ask(Request::SetVringBase, VringState{index, base}) &&
              front_end_->ask(Request::SetVringAddr, addresses) &&
              front_end_->ask(Request::SetVringCall, std::uint64_t{index}, std::span(&call_fd, 1)) &&
              front_end_->ask(Request::SetVringKick, std::uint64_t{index}, std::span(&kick_fd, 1)) &&
              front_end_->ask(Request::SetVringEnable, VringState{index, 1}),
          "start a virtqueue");
}

void Target::stop(std::uint32_t index) {
  require(front_end_->stop(index).has_value(), "stop a virtqueue");
}

}  // namespace bench
