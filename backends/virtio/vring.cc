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

void Vring::publish() {
  if (queue_->publish()) signal(call_);
}

void Vring::fail() {
  failed_ = true;
  signal(error_);
}

}  // namespace virtio
