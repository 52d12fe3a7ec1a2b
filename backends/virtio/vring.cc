#include "backends/virtio/vring.h"

#include <unistd.h>

namespace virtio {
namespace {

void signal(const ipc::UniqueFd& eventfd) {
  if (!eventfd) return;
  // It can fail only if the front end gave something else than an eventfd or filled it up: its own loss.
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(eventfd.get(), &one, sizeof one);
}

}  // namespace

bool Vring::publish() {
  const bool interrupts = queue_->publish();
  if (interrupts) signal(call_);
  return interrupts;
}

void Vring::fail() {
  failed_ = true;
  signal(error_);
}

}  // namespace virtio
