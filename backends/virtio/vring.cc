#include "backends/virtio/vring.h"

#include "ipc/eventfd.h"

namespace virtio {

bool Vring::publish() {
  const bool interrupts = queue_->publish();
  if (interrupts && call_) ipc::signal(call_);
  return interrupts;
}

void Vring::raise_lost_interrupt() {
  interrupt_due_ = !call_;
  if (call_) ipc::signal(call_);
}

void Vring::fail() {
  failed_ = true;
  if (error_) ipc::signal(error_);
}

}  // namespace virtio
