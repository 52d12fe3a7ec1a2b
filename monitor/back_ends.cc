#include "monitor/back_ends.h"

#include <algorithm>
#include <array>

namespace monitor {

using ipc::Result;
using ipc::UniqueFd;
namespace schema = ipc::schema;

namespace {

constexpr std::uint64_t kInflightBytes = 16 * 1024;  // more than a queue's record of what is in flight takes
constexpr std::uint64_t kCardBytes = 4 << 20;

}  // namespace

std::uint16_t rings_of(const NetConfiguration& card) {
  return static_cast<std::uint16_t>(2 * card.queue_pairs + 1);
}

Result<UniqueFd> start_disk(Device& device, const DiskConfiguration& disk, const Image& image,
                            const UniqueFd* operators) {
  ipc::StreamPair sockets = TRY(ipc::StreamPair::make());
  // It writes inside its image, never beyond.
  const sandbox::Limits limits{
      .open_files = 64u + 4u * disk.queues,
      .file_bytes = std::max(disk.readonly ? 0 : image.bytes, kScratchBytes + disk.queues * kInflightBytes)};
  TRY(device.start(ProgramKind::BLK, limits));

  capnp::MallocMessageBuilder message;
  auto block = message.initRoot<schema::ToBackend>().initBlock();
  block.setReadonly(disk.readonly);
  block.setSerial(disk.serial);
  block.setQueues(disk.queues);
  std::vector<int> fds{image.direct ? image.direct.get() : image.file.get(), sockets.theirs.get()};
  if (operators != nullptr) fds.push_back(operators->get());
  block.setHasOperators(operators != nullptr);
  block.setUnaligned(static_cast<bool>(image.direct));
  block.setDirectOnly(disk.cache == schema::Disk::Cache::DIRECT);
  if (image.direct) fds.push_back(image.file.get());
  TRY(device.send(message, fds));
  return std::move(sockets.ours);
}

Result<UniqueFd> start_card(Device& device, const NetConfiguration& card, const UniqueFd* operators) {
  WayOut& way = *device.plan().way;
  ipc::StreamPair sockets = TRY(ipc::StreamPair::make());
  // Telemetry, the in-flight region and a filter's program are all the files that it makes.
  const sandbox::Limits limits{.open_files = 64u + 6u * rings_of(card), .file_bytes = kCardBytes};
  TRY(device.start(ProgramKind::NET, limits));
  const auto links = TRY(way.attach([&device](UniqueFd link) {
    capnp::MallocMessageBuilder message;
    message.initRoot<schema::ToBackend>().setLink();
    static_cast<void>(device.send(message, std::array{link.get()}));  // one that does not listen is about to be lost
  }));

  capnp::MallocMessageBuilder message;
  auto network = message.initRoot<schema::ToBackend>().initNetwork();
  network.setKind(way.kind());
  network.setMac(kj::arrayPtr(card.mac.bytes.data(), card.mac.bytes.size()));
  network.setMtu(card.mtu);
  network.setQueuePairs(card.queue_pairs);
  auto policy = network.initPolicy();
  policy.setOwnMacOnly(card.own_mac_only);
  policy.setAddressesOnly(!card.ipv4.empty() || !card.ipv6.empty());
  const auto fill = [](auto list, const std::vector<std::string>& texts) {
    for (unsigned i = 0; i < list.size(); ++i) list.set(i, texts[i]);
  };
  fill(policy.initIpv4(static_cast<unsigned>(card.ipv4.size())), card.ipv4);
  fill(policy.initIpv6(static_cast<unsigned>(card.ipv6.size())), card.ipv6);
  policy.initFlood().setPerSecond(card.flood);
  network.setName(way.describe());
  std::vector<int> fds{sockets.theirs.get()};
  if (operators != nullptr) fds.push_back(operators->get());
  network.setHasOperators(operators != nullptr);
  for (const UniqueFd& link : links) fds.push_back(link.get());
  TRY(device.send(message, fds));
  return std::move(sockets.ours);
}

}  // namespace monitor
