// The session's messages about in-flight tracking (vhost-user.rst, "Inflight I/O tracking").
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "backends/virtio/kept_state.h"
#include "backends/virtio/session.h"

namespace virtio {
namespace {

using ipc::failure;
using ipc::Result;
using ipc::vhost_user::Inflight;

constexpr std::uint64_t kPage = 4096;

Result<ipc::UniqueFd> make_region(std::uint64_t bytes) {
  ipc::UniqueFd file(::memfd_create("inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(file.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
    return ipc::system_failure("vhost-user GET_INFLIGHT_FD: make the region");
  return file;
}

}  // namespace

// What the front end asks for, with sizes that are right. CVE-2021-3839: all of them are the peer's.
Result<Inflight> Session::inflight_request(const Message& message) const {
  Inflight asked{};
  std::memcpy(&asked, message.payload.data(), message.payload.size());
  if (asked.queues == 0 || asked.queues > device_.queues() || asked.queue_size == 0 ||
      asked.queue_size > kMaxQueueSize || (!packed() && !std::has_single_bit(asked.queue_size)))
    return failure(EINVAL,
                   fmt::format("vhost-user: in-flight region for {} queues of {}", asked.queues, asked.queue_size));
  return asked;
}

Result<> Session::get_inflight_fd(Message& message) {
  Inflight answer = TRY(inflight_request(message));
  answer.mmap_size = answer.queues * inflight_stride(answer.queue_size) + kept_bytes();
  answer.mmap_offset = 0;
  const ipc::UniqueFd file = TRY(make_region(answer.mmap_size));
  const int fd = file.get();
  // As long as it was asked: front ends accept no other.
  const auto bytes = ipc::vhost_user::payload_of(answer).first(message.payload.size());
  return socket_.send(message.request, ipc::vhost_user::kReplyFlag, bytes, std::span(&fd, 1));
}

Result<> Session::set_inflight_fd(Message& message) {
  const Inflight asked = TRY(inflight_request(message));
  if (std::ranges::any_of(rings_, &Vring::running))
    return failure(EBUSY, "vhost-user: SET_INFLIGHT_FD while a ring runs");
  const ipc::UniqueFd& file = message.fds[0];
  if (sealing_ == Sealing::Required) TRY(check_sealed(file));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return ipc::system_failure("stat an in-flight region");
  const std::uint64_t size = asked.queues * inflight_stride(asked.queue_size);
  const auto file_size = static_cast<std::uint64_t>(status.st_size);
  if (asked.mmap_offset % kPage != 0 || asked.mmap_size < size || asked.mmap_offset > file_size ||
      size > file_size - asked.mmap_offset)
    return failure(EINVAL, fmt::format("vhost-user: in-flight region of {} bytes at {} of {}", asked.mmap_size,
                                       asked.mmap_offset, file_size));
  // One that a front end made itself may have no room for more than the rings.
  const bool keeps =
      kept_bytes() > 0 && asked.mmap_size == size + kept_bytes() && asked.mmap_size <= file_size - asked.mmap_offset;
  const std::uint64_t all = keeps ? asked.mmap_size : size;
  InflightRegion region{.mapping = TRY(ipc::Mapping::of(file, asked.mmap_offset, all, ipc::Access::ReadWrite)),
                        .bytes = {},
                        .queues = asked.queues,
                        .queue_size = asked.queue_size};
  region.bytes = region.mapping.bytes().first(size);
  TRY(device_.keep_in(region.mapping.bytes().subspan(size)));
  inflight_ = std::move(region);
  return {};
}

std::size_t Session::kept_bytes() const {
  return device_.keeps_state() ? KeptState::kBytes : 0;
}

void Session::forget_inflight() {
  if (inflight_) static_cast<void>(device_.keep_in({}));
  inflight_.reset();
}

Result<std::optional<std::span<std::byte>>> Session::inflight_part(const Vring& ring) const {
  if (!inflight_) return std::nullopt;
  const std::size_t index = index_of(ring);
  const bool fits = packed() ? ring.size_ == inflight_->queue_size : ring.size_ <= inflight_->queue_size;
  if (index >= inflight_->queues || !fits)
    return failure(EINVAL, fmt::format("vhost-user: ring {} of {} entries, where the in-flight region is for {} of {}",
                                       index, ring.size_, inflight_->queues, inflight_->queue_size));
  // The layout may have been negotiated after the region came.
  const std::size_t stride = inflight_stride(inflight_->queue_size);
  if (inflight_->bytes.size() < inflight_->queues * stride)
    return failure(EINVAL, "vhost-user: in-flight region of another layout than the ring's");
  return inflight_->bytes.subspan(index * stride, stride);
}

std::size_t Session::inflight_stride(std::uint16_t queue_size) const {
  return packed() ? packed_inflight_bytes(queue_size) : inflight_bytes(queue_size);
}

}  // namespace virtio
