#include "backends/virtio/queue.h"

namespace virtio {

void Queue::log_writes(const DirtyLog& log, const ipc::GuestMemory& memory, std::vector<GuestRange> own) {
  logging_ = std::make_unique<Logging>(Logging{.log = &log, .memory = &memory, .own = std::move(own), .writable = {}});
  logging_->writable.resize(size());
  mark_own();  // a predecessor may have been killed between writing and marking
}

void Queue::remember(const Head& head, const Chain& chain) {
  auto& ranges = logging_->writable[head.index];
  ranges.clear();
  if (!head.chain) return;
  for (const ipc::GuestBuffer& buffer : chain.writable())
    ranges.push_back({logging_->memory->address_of(buffer).value, buffer.size()});
}

// All of them: a request that failed may have written more than it says.
void Queue::mark_written(std::uint16_t head) const {
  for (const GuestRange& range : logging_->writable[head]) logging_->log->mark(range);
}

void Queue::mark_own() const {
  for (const GuestRange& range : logging_->own) logging_->log->mark(range);
}

}  // namespace virtio
