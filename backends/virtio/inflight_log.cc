#include "backends/virtio/inflight_log.h"

#include <algorithm>

#include "backends/virtio/inflight_region.h"

namespace virtio {

using inflight_region::kVersion;
using inflight_region::store;
using ipc::load_once;

std::size_t inflight_bytes(std::uint16_t queue_size) {
  return inflight_region::bytes<InflightLog::Header, InflightLog::Descriptor>(queue_size);
}

ipc::Result<InflightLog> InflightLog::attach(std::span<std::byte> region, std::uint16_t queue_size) {
  static_assert(sizeof(Header) == 16 && sizeof(Descriptor) == 16);
  const bool fits = region.size() >= inflight_bytes(queue_size) &&
                    reinterpret_cast<std::uintptr_t>(region.data()) % alignof(Header) == 0;
  if (!fits || queue_size == 0 || queue_size > kMaxQueueSize)
    return ipc::failure(EINVAL,
                        fmt::format("in-flight region of {} bytes for a ring of {}", region.size(), queue_size));
  InflightLog log;
  // SAFETY: bounds and alignment are checked above; both are trivially copyable, and only touched by
  // load_once() and std::atomic_ref; the region outlives the log by its contract.
  log.header_ = reinterpret_cast<Header*>(region.data());
  log.descriptors_ = std::span(reinterpret_cast<Descriptor*>(region.data() + sizeof(Header)), queue_size);
  const std::uint16_t version = load_once(log.header_->version);
  if (version == 0) {
    store(log.header_->desc_num, queue_size);
    store(log.header_->version, kVersion);
  } else if (version != kVersion || load_once(log.header_->features) != 0 ||
             load_once(log.header_->desc_num) != queue_size) {
    return ipc::failure(EINVAL, fmt::format("in-flight region of version {} for {} descriptors, where the ring has {}",
                                            version, load_once(log.header_->desc_num), queue_size));
  }
  log.batch_.reserve(queue_size);
  return log;
}

std::vector<std::uint16_t> InflightLog::recover(std::uint16_t used_index) {
  // The predecessor was killed after it showed its last batch to the driver and before it noted so.
  std::uint16_t shown = static_cast<std::uint16_t>(used_index - load_once(header_->used_idx));
  std::uint16_t head = load_once(header_->last_batch_head);
  for (; shown > 0 && shown <= descriptors_.size() && head < descriptors_.size(); --shown) {
    store(descriptors_[head].inflight, std::uint8_t{0});
    head = load_once(descriptors_[head].next);
  }
  store(header_->used_idx, used_index);

  std::vector<std::pair<std::uint64_t, std::uint16_t>> left;
  for (std::uint16_t i = 0; i < descriptors_.size(); ++i)
    if (load_once(descriptors_[i].inflight) != 0) left.emplace_back(load_once(descriptors_[i].counter), i);
  std::ranges::sort(left);
  if (!left.empty()) counter_ = left.back().first + 1;
  std::vector<std::uint16_t> heads;
  for (const auto& [counter, index] : left) heads.push_back(index);
  return heads;
}

void InflightLog::take(std::uint16_t head) {
  store(descriptors_[head].counter, counter_++);
  store(descriptors_[head].inflight, std::uint8_t{1});
}

void InflightLog::complete(std::uint16_t head) {
  store(descriptors_[head].next, load_once(header_->last_batch_head));
  store(header_->last_batch_head, head);
  batch_.push_back(head);
}

void InflightLog::publish(std::uint16_t used_index) {
  for (const std::uint16_t head : batch_) store(descriptors_[head].inflight, std::uint8_t{0});
  store(header_->used_idx, used_index);
  batch_.clear();
}

}  // namespace virtio
