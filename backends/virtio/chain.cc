#include "backends/virtio/chain.h"

namespace virtio {

void Chain::clear() {
  count_ = 0;
  readable_ = 0;
  readable_bytes_ = 0;
  writable_bytes_ = 0;
}

bool Chain::append(const ipc::GuestBuffer& buffer, bool device_writes) {
  if (full() || (!device_writes && readable_ != count_)) return false;
  buffers_[count_++] = buffer;
  if (device_writes) {
    writable_bytes_ += buffer.size();
  } else {
    ++readable_;
    readable_bytes_ += buffer.size();
  }
  return true;
}

}  // namespace virtio
