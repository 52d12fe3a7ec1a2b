// The session's messages about live migration: the dirty log, and the device's own state (vhost-user.rst,
// "Migration", "Migrating back-end state").
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "backends/virtio/features.h"
#include "backends/virtio/session.h"

namespace virtio {
namespace {

using ipc::failure;
using ipc::Result;

// A peer's pipe can be filled or kept empty by it: it is only touched when it is ready.
bool ready(const ipc::UniqueFd& pipe, short event) {
  pollfd entry{pipe.get(), event, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & (event | POLLHUP)) != 0 && (entry.revents & POLLERR) == 0;
}

Result<> check_pipe(const ipc::UniqueFd& file) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return ipc::system_failure("stat a channel for device state");
  if (!S_ISFIFO(status.st_mode)) return failure(EINVAL, "channel for device state that is no pipe");
  return {};
}

// One write, which a pipe that is ready takes as a whole.
Result<> write_state(const ipc::UniqueFd& pipe, std::span<const std::byte> state) {
  if (state.size() > kMaxState || !ready(pipe, POLLOUT)) return failure(EAGAIN, "device state: the pipe takes nothing");
  const ssize_t written = ::write(pipe.get(), state.data(), state.size());
  if (written != static_cast<ssize_t>(state.size())) return ipc::system_failure("write a device state");
  return {};
}

// All that has been written, up to the end; the writer must have closed its end before we are asked.
Result<std::vector<std::byte>> read_state(const ipc::UniqueFd& pipe) {
  std::vector<std::byte> state(kMaxState + 1);
  std::size_t size = 0;
  while (size < state.size()) {
    if (!ready(pipe, POLLIN)) return failure(EAGAIN, "device state that has not come to its end");
    const ssize_t count = ::read(pipe.get(), state.data() + size, state.size() - size);
    if (count < 0) return ipc::system_failure("read a device state");
    if (count == 0) {
      state.resize(size);
      return state;
    }
    size += static_cast<std::size_t>(count);
  }
  return failure(EMSGSIZE, "device state larger than any");
}

}  // namespace

Result<> Session::set_log_base(Message& message) {
  const auto asked = *message.as<ipc::vhost_user::Log>();
  auto log =
      std::make_unique<DirtyLog>(TRY(DirtyLog::map(message.fds[0], asked.mmap_offset, asked.mmap_size, sealing_)));
  for (const GuestRange& range : memory_.ranges())
    if (!log->covers(range))
      return failure(EINVAL, fmt::format("vhost-user: dirty log of {} bytes, too small for guest memory up to {:#x}",
                                         asked.mmap_size, range.start + (range.bytes - 1)));
  std::swap(dirty_log_, log);
  auto queues = remake_queues(memory_);
  if (!queues) {
    std::swap(dirty_log_, log);
    return std::unexpected(std::move(queues).error());
  }
  replace_queues(std::move(*queues));
  return {};
}

Result<> Session::set_log_fd(Message&) {
  // An eventfd that may tell the front end that the log has changed. It looks by itself: nothing is told.
  return {};
}

Result<> Session::log_all(bool on) {
  const std::uint64_t before = std::exchange(features_, on ? features_ | kLogAll : features_ & ~kLogAll);
  auto queues = remake_queues(memory_);
  if (!queues) {
    features_ = before;
    return std::unexpected(std::move(queues).error());
  }
  replace_queues(std::move(*queues));
  return {};
}

Result<> Session::log_writes(const Vring& ring, const MemoryTable& memory, Queue& queue) const {
  if ((features_ & kLogAll) == 0 || !dirty_log_) return {};
  std::vector<GuestRange> own;
  const auto& addresses = *ring.addresses_;
  if ((addresses.flags & ipc::vhost_user::kVringLog) != 0) {
    // "The write to first byte of the used ring is logged at this offset", which may lie in no region.
    const std::size_t used_bytes = packed() ? 4 : 6 + std::size_t{8} * ring.size_;
    own.push_back({addresses.log, used_bytes});
    // In a packed ring descriptors are used where they are.
    if (packed()) own.push_back({memory.to_guest(addresses.descriptor)->value, std::uint64_t{16} * ring.size_});
    if (!std::ranges::all_of(own, [&](const GuestRange& range) { return dirty_log_->covers(range); }))
      return failure(EINVAL, fmt::format("vhost-user: ring logged at {:#x}, beyond the dirty log", addresses.log));
  }
  queue.log_writes(*dirty_log_, memory.memory(), std::move(own));
  return {};
}

// Bits 0 to 7 of the reply are an error; bit 8 says that the front end's own channel is used.
Result<> Session::set_device_state_fd(Message& message) {
  const auto asked = *message.as<ipc::vhost_user::DeviceState>();
  const ipc::UniqueFd& pipe = message.fds[0];
  loading_ = ipc::UniqueFd();
  auto begun = [&]() -> Result<> {
    if (asked.phase != ipc::vhost_user::kStopped || asked.direction > ipc::vhost_user::kLoad)
      return failure(EINVAL,
                     fmt::format("vhost-user: device state in direction {}, phase {}", asked.direction, asked.phase));
    if (std::ranges::any_of(rings_, &Vring::running))
      return failure(EBUSY, "vhost-user: device state while a ring runs");
    TRY(check_pipe(pipe));
    if (asked.direction == ipc::vhost_user::kSave) return write_state(pipe, device_.save_state());
    loading_ = std::move(message.fds[0]);
    return {};
  }();
  transferred_ = begun.has_value();
  if (!begun) refusal_ = std::move(begun).error();
  return reply_number(message, ipc::vhost_user::kVringNoFd | (transferred_ ? 0 : 1));
}

Result<> Session::check_device_state(Message& message) {
  if (loading_) {
    const ipc::UniqueFd pipe = std::move(loading_);
    auto loaded = [&]() -> Result<> {
      if (std::ranges::any_of(rings_, &Vring::running))
        return failure(EBUSY, "vhost-user: device state while a ring runs");
      return device_.load_state(TRY(read_state(pipe)));
    }();
    transferred_ = loaded.has_value();
    if (!loaded) refusal_ = std::move(loaded).error();
  }
  return reply_number(message, transferred_ ? 0 : 1);
}

}  // namespace virtio
