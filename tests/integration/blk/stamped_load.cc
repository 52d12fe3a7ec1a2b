#include "tests/integration/blk/stamped_load.h"

#include <thread>

using ipc::vhost_user::Inflight;
using ipc::vhost_user::Request;
using support::kSector;

namespace {

constexpr std::chrono::microseconds kPause{20};

}  // namespace

StampedLoad::StampedLoad(std::uint32_t seed, support::Layout layout, support::GuestRam ram)
    : random_(seed), ram_(std::move(ram)) {
  for (std::uint16_t i = 0; i < kQueues; ++i) queues_.emplace_back(ram_, kQueueSize, layout);
  for (std::size_t i = 0; i < kSlots; ++i) {
    Slot& slot = slots_.emplace_back(Slot{.request = support::make_request(ram_, VIRTIO_BLK_T_OUT, 0, kBlock)});
    slot.queue = static_cast<std::uint16_t>(i % kQueues);
    slot.table = ram_.allocate(48);
    const support::Descriptor whole{slot.table, 48, support::kIndirect};
    slot.head = queues_[slot.queue].link(std::span(&whole, 1));
  }
}

bool StampedLoad::greet(std::unique_ptr<support::FakeFrontEnd> front_end) {
  front_end_ = std::move(front_end);
  if (!front_end_ || !front_end_->greet(ram_, kFeatures | (queues_[0].packed() ? support::kPackedFeature : 0)))
    return false;
  if (!region_ && !get_region()) return false;
  const int fd = region_.get();
  if (!front_end_->ask(Request::SetInflightFd, inflight_, std::span(&fd, 1))) return false;
  // How far the last process came is known of a split ring by its used index, of a packed one by the region alone.
  for (std::uint16_t i = 0; i < kQueues; ++i) {
    const std::uint32_t base = queues_[i].packed() ? 0x8000'8000 : ram_.object<std::uint16_t>(queues_[i].used() + 2);
    if (!front_end_->start(queues_[i], i, base)) return false;
  }
  return true;
}

bool StampedLoad::get_region() {
  if (!front_end_->send(Request::GetInflightFd, Inflight{0, 0, kQueues, kQueueSize, 0})) return false;
  auto reply = front_end_->receive();
  if (!reply || reply->fds.size() != 1 || !reply->as<Inflight>()) return false;
  inflight_ = *reply->as<Inflight>();
  region_ = std::move(reply->fds[0]);
  return true;
}

bool StampedLoad::run(std::size_t requests) {
  const std::size_t enough = completed_ + requests;
  const auto end = std::chrono::steady_clock::now() + support::kPatience;
  while (completed_ < enough && std::chrono::steady_clock::now() < end)
    if (!round()) std::this_thread::sleep_for(kPause);
  return completed_ >= enough;
}

void StampedLoad::run_for(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) round();
}

void StampedLoad::finish() {
  const auto end = std::chrono::steady_clock::now() + support::kPatience;
  while (in_flight() > 0 && std::chrono::steady_clock::now() < end)
    if (!drain()) std::this_thread::sleep_for(kPause);
  // What comes once more comes now.
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  drain();
}

bool StampedLoad::round() {
  std::array<bool, kQueues> offered{};
  for (Slot& slot : slots_) {
    if (slot.busy) continue;
    offer(slot);
    offered[slot.queue] = true;
  }
  for (std::size_t i = 0; i < kQueues; ++i)
    if (offered[i]) queues_[i].kick();
  return drain();
}

bool StampedLoad::drain() {
  bool any = false;
  for (std::uint16_t i = 0; i < kQueues; ++i) {
    while (const auto used = queues_[i].wait_used(std::chrono::milliseconds(0))) {
      complete(i, *used);
      any = true;
    }
  }
  return any;
}

std::span<std::uint64_t> StampedLoad::words(const Slot& slot) {
  return {&ram_.object<std::uint64_t>(slot.request.data), kBlock / 8};
}

void StampedLoad::offer(Slot& slot) {
  const auto index = static_cast<std::size_t>(&slot - slots_.data());
  const std::size_t chosen = reading_back_ ? slot.reads_back++ % kBlocksOfSlot : random_() % kBlocksOfSlot;
  slot.block = index * kBlocksOfSlot + chosen;
  const auto choice = reading_back_ ? 1 : random_() % 16;
  slot.kind = choice == 0 ? Kind::Flush : choice < 6 && stamps_[slot.block] != 0 ? Kind::Read : Kind::Write;
  slot.stamp = slot.kind == Kind::Read ? stamps_[slot.block] : ++last_stamp_;
  std::ranges::fill(words(slot), slot.kind == Kind::Read ? 0 : slot.stamp);
  constexpr std::array<std::uint32_t, 3> kTypes{VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH};
  ram_.object<virtio_blk_outhdr>(slot.request.header) = {
      .type = kTypes.at(static_cast<std::size_t>(slot.kind)),
      .ioprio = 0,
      .sector = slot.kind == Kind::Flush ? 0 : slot.block * (kBlock / kSector)};
  ram_.object<std::uint8_t>(slot.request.status) = support::kUntouched;
  slot.request.device_writes = slot.kind == Kind::Read;
  slot.request.bytes = slot.kind == Kind::Flush ? 0 : kBlock;
  auto parts = slot.request.parts();
  queues_[slot.queue].write_table(slot.table, parts);
  const support::Descriptor whole{slot.table, static_cast<std::uint32_t>(16 * parts.size()), support::kIndirect};
  queues_[slot.queue].replace(slot.head, whole);
  slot.busy = true;
  queues_[slot.queue].offer(slot.head);
}

void StampedLoad::complete(std::uint16_t queue, const support::Used& used) {
  const auto slot =
      std::ranges::find_if(slots_, [&](const Slot& each) { return each.queue == queue && each.head == used.id; });
  if (slot == slots_.end() || !slot->busy) {
    ++repeated;
    return;
  }
  slot->busy = false;
  ++completed_;
  if (ram_.object<std::uint8_t>(slot->request.status) != VIRTIO_BLK_S_OK) ++errors;
  if (slot->kind == Kind::Write) stamps_[slot->block] = slot->stamp;
  if (!std::ranges::all_of(words(*slot), [&](std::uint64_t word) { return word == slot->stamp; })) ++mismatches;
}

std::size_t StampedLoad::stale(const ipc::UniqueFd& disk) const {
  std::size_t count = 0;
  for (std::size_t block = 0; block < stamps_.size(); ++block) {
    if (stamps_[block] == 0) continue;
    std::array<std::uint64_t, kBlock / 8> content{};
    const bool read =
        ::pread(disk.get(), content.data(), kBlock, static_cast<off_t>(block * kBlock)) == ssize_t{kBlock};
    if (!read || !std::ranges::all_of(content, [&](auto word) { return word == stamps_[block]; })) ++count;
  }
  return count;
}
