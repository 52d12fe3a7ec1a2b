#include "tests/support/fake_driver.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <thread>

namespace support {

using ipc::vhost_user::Request;

namespace {

// AVAIL and USED in a packed ring's descriptors (virtio 1.2, 2.8.1).
constexpr std::uint16_t kAvailableMark = 1 << 7;
constexpr std::uint16_t kUsedMark = 1 << 15;

}  // namespace

ipc::UniqueFd make_eventfd() {
  return ipc::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

ipc::UniqueFd make_memfd(std::size_t bytes, int seals) {
  ipc::UniqueFd fd(::memfd_create("test-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 || ::fcntl(fd.get(), F_ADD_SEALS, seals) != 0) return {};
  return fd;
}

bool readable_within(const ipc::UniqueFd& fd, std::chrono::milliseconds time) {
  pollfd entry{fd.get(), POLLIN, 0};
  return ::poll(&entry, 1, static_cast<int>(time.count())) == 1;
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator entries("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

GuestRam::GuestRam(std::size_t bytes, int seals)
    : fd_(make_memfd(bytes, seals)), ram_(ipc::Mapping::of(fd_, 0, bytes, ipc::Access::ReadWrite).value()) {}

GuestRam::GuestRam(ipc::UniqueFd file, std::size_t bytes)
    : fd_(std::move(file)), ram_(ipc::Mapping::of(fd_, kGuestBase, bytes, ipc::Access::ReadWrite).value()) {}

std::uint64_t GuestRam::allocate(std::size_t bytes, std::size_t alignment) {
  next_ = (next_ + alignment - 1) / alignment * alignment;
  const std::uint64_t address = next_;
  next_ += bytes;
  return address;
}

std::span<std::byte> GuestRam::at(std::uint64_t address, std::size_t bytes) const {
  return ram_.bytes().subspan(address - kGuestBase, bytes);
}

FakeQueue::FakeQueue(GuestRam& ram, std::uint16_t size, Layout layout)
    : ram_(ram),
      layout_(layout),
      size_(size),
      table_(ram.allocate(std::size_t{16} * size)),
      available_(ram.allocate(packed() ? 4 : 6 + std::size_t{2} * size, 4)),
      used_(ram.allocate(packed() ? 4 : 6 + std::size_t{8} * size, 4)) {
  if (packed()) chains_.resize(size);
}

void FakeQueue::put(std::uint16_t index, const Descriptor& descriptor) {
  std::memcpy(ram_.at(table_ + std::uint64_t{16} * index, 16).data(), &descriptor, 16);
}

std::uint16_t FakeQueue::link(std::span<const Descriptor> parts) {
  const std::uint16_t head = next_free_;
  if (packed()) {
    chains_[head].assign(parts.begin(), parts.end());
    next_free_ = static_cast<std::uint16_t>((next_free_ + 1) % size_);
    return head;
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Descriptor part = parts[i];
    const std::uint16_t index = next_free_;
    next_free_ = static_cast<std::uint16_t>((next_free_ + 1) % size_);
    if (i + 1 < parts.size()) {
      part.flags |= kNext;
      part.next = next_free_;
    }
    put(index, part);
  }
  return head;
}

std::uint64_t FakeQueue::indirect_table(std::span<const Descriptor> parts) {
  const std::uint64_t table = ram_.allocate(16 * parts.size());
  write_table(table, parts);
  return table;
}

void FakeQueue::write_table(std::uint64_t table, std::span<const Descriptor> parts) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    Descriptor part = parts[i];
    if (!packed() && i + 1 < parts.size()) {
      part.flags |= kNext;
      part.next = static_cast<std::uint16_t>(i + 1);
    }
    if (packed()) std::swap(part.flags, part.next);  // where the buffer id and then the flags are
    std::memcpy(ram_.at(table + 16 * i, 16).data(), &part, 16);
  }
}

void FakeQueue::replace(std::uint16_t head, const Descriptor& descriptor) {
  if (packed())
    chains_[head] = {descriptor};
  else
    put(head, descriptor);
}

std::uint16_t FakeQueue::link_indirect(std::span<const Descriptor> parts) {
  const std::uint64_t table = indirect_table(parts);
  const Descriptor whole{table, static_cast<std::uint32_t>(16 * parts.size()), kIndirect};
  return link(std::span(&whole, 1));
}

// The chain's descriptors from the next place in the ring on, the flags of its first at the end.
void FakeQueue::offer_packed(std::uint16_t id) {
  const std::vector<Descriptor>& parts = chains_[id];
  std::uint16_t* first = nullptr;
  std::uint16_t first_flags = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::uint64_t place = table_ + std::uint64_t{16} * next_available_;
    auto flags = static_cast<std::uint16_t>(parts[i].flags | (available_wrap_ ? kAvailableMark : kUsedMark));
    if (i + 1 < parts.size()) flags |= kNext;
    ram_.object<std::uint64_t>(place) = parts[i].address;
    ram_.object<std::uint32_t>(place + 8) = parts[i].length;
    word(place + 12) = id;
    if (i == 0) {
      first = &word(place + 14);
      first_flags = flags;
    } else {
      word(place + 14) = flags;
    }
    if (++next_available_ == size_) {
      next_available_ = 0;
      available_wrap_ = !available_wrap_;
    }
  }
  std::atomic_ref(*first).store(first_flags, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void FakeQueue::offer(std::uint16_t head) {
  if (packed()) return offer_packed(head);
  word(available_ + 4 + std::uint64_t{2} * (next_available_ % size_)) = head;
  set_available_index(static_cast<std::uint16_t>(next_available_ + 1));
}

void FakeQueue::set_available_index(std::uint16_t index) {
  next_available_ = index;
  std::atomic_ref(word(available_ + 2)).store(index, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void FakeQueue::start_at(std::uint16_t index, bool wrap) {
  next_available_ = index;
  next_used_ = index;
  kicked_ = index;
  available_wrap_ = wrap;
  used_wrap_ = wrap;
  if (packed()) {
    // No descriptor is available: each is as the device left it, in this lap or in the last.
    for (std::uint16_t i = 0; i < size_; ++i)
      word(table_ + std::uint64_t{16} * i + 14) =
          static_cast<std::uint16_t>((i < index) == wrap ? kAvailableMark | kUsedMark : 0);
    return;
  }
  set_available_index(index);
  word(used_ + 2) = index;
}

std::uint32_t FakeQueue::base() const {
  if (!packed()) return next_used_;
  const std::uint32_t half = next_used_ | (used_wrap_ ? 0x8000u : 0u);
  return half << 16 | half;
}

void FakeQueue::kick() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(kick_.get(), &one, sizeof one);
}

bool FakeQueue::wants_kick(bool event_idx) {
  const std::uint16_t before = std::exchange(kicked_, next_available_);
  if (packed()) {
    const std::uint16_t flags = std::atomic_ref(word(used_ + 2)).load();
    if (flags != 2) return flags == 0;
    const std::uint16_t wish = std::atomic_ref(word(used_)).load();
    const std::uint16_t here = next_available_;
    const auto event = static_cast<std::uint16_t>((wish & 0x7fff) - ((wish >> 15 != 0) == available_wrap_ ? 0 : size_));
    const auto old = static_cast<std::uint16_t>(before <= here ? before : before - size_);
    return static_cast<std::uint16_t>(here - event - 1) < static_cast<std::uint16_t>(here - old);
  }
  if (!event_idx) return (std::atomic_ref(word(used_)).load() & 1) == 0;
  const std::uint16_t event = std::atomic_ref(word(used_ + 4 + std::uint64_t{8} * size_)).load();
  return static_cast<std::uint16_t>(next_available_ - event - 1) < static_cast<std::uint16_t>(next_available_ - before);
}

void FakeQueue::suppress_interrupts() {
  std::atomic_ref(word(packed() ? available_ + 2 : available_)).store(1);
}

void FakeQueue::set_used_event(std::uint16_t index) {
  if (packed()) {
    const auto wish = static_cast<std::uint16_t>(index | (used_wrap_ ? 0x8000 : 0));
    std::atomic_ref(ram_.object<std::uint32_t>(available_)).store(std::uint32_t{2} << 16 | wish);
    return;
  }
  std::atomic_ref(word(available_ + 4 + std::uint64_t{2} * size_)).store(index);
}

std::optional<Used> FakeQueue::take_used() {
  Used entry{};
  if (!packed()) {
    if (std::atomic_ref(word(used_ + 2)).load(std::memory_order_acquire) == next_used_) return std::nullopt;
    std::memcpy(&entry, ram_.at(used_ + 4 + std::uint64_t{8} * (next_used_ % size_), sizeof entry).data(),
                sizeof entry);
    ++next_used_;
    return entry;
  }
  const std::uint64_t place = table_ + std::uint64_t{16} * next_used_;
  const std::uint16_t flags = std::atomic_ref(word(place + 14)).load(std::memory_order_acquire);
  const auto used = static_cast<std::uint16_t>(used_wrap_ ? kAvailableMark | kUsedMark : 0);
  if ((flags & (kAvailableMark | kUsedMark)) != used) return std::nullopt;
  entry = {.id = word(place + 12), .length = ram_.object<std::uint32_t>(place + 8)};
  // A device that names a buffer which does not exist is not followed any further.
  if (entry.id < size_) next_used_ = static_cast<std::uint16_t>(next_used_ + chains_[entry.id].size());
  if (next_used_ >= size_) {
    next_used_ = static_cast<std::uint16_t>(next_used_ - size_);
    used_wrap_ = !used_wrap_;
  }
  return entry;
}

std::optional<Used> FakeQueue::wait_used(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (true) {
    if (const auto entry = take_used()) return entry;
    if (std::chrono::steady_clock::now() > end) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

std::uint64_t FakeQueue::interrupts() {
  std::uint64_t count = 0;
  return ::read(call_.get(), &count, sizeof count) == sizeof count ? count : 0;
}

bool FakeFrontEnd::send(std::uint32_t request, std::span<const std::byte> payload, std::span<const int> fds,
                        std::uint32_t flags) {
  return socket_.send(request, flags, payload, fds).has_value();
}

std::optional<ipc::vhost_user::Message> FakeFrontEnd::receive(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (true) {
    auto message = socket_.receive();
    if (!message) return std::nullopt;
    if (*message) return std::move(**message);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !readable_within(socket_.fd(), left)) return std::nullopt;
  }
}

bool FakeFrontEnd::closed() {
  while (readable_within(socket_.fd(), kPatience)) {
    std::array<std::byte, 256> rest;
    const ssize_t count = ::recv(socket_.fd().get(), rest.data(), rest.size(), MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno == ECONNRESET)) return true;
    if (count < 0) return false;
  }
  return false;
}

std::optional<std::uint64_t> FakeFrontEnd::get(Request request) {
  if (!send(static_cast<std::uint32_t>(request), {})) return std::nullopt;
  const auto reply = receive();
  if (!reply || !reply->is_reply() || reply->request != static_cast<std::uint32_t>(request)) return std::nullopt;
  return reply->as<std::uint64_t>();
}

bool FakeFrontEnd::acknowledged() {
  const auto reply = receive();
  return reply && reply->is_reply() && reply->as<std::uint64_t>() == std::uint64_t{0};
}

bool FakeFrontEnd::greet(const GuestRam& ram, std::uint64_t features) {
  const auto protocol = get(Request::GetProtocolFeatures);
  if (!get(Request::GetFeatures) || !protocol) return false;
  return send(Request::SetProtocolFeatures, *protocol) && send(static_cast<std::uint32_t>(Request::SetOwner), {}) &&
         ask(Request::SetFeatures, features | ipc::vhost_user::kProtocolFeaturesBit) && set_memory(ram);
}

bool FakeFrontEnd::set_memory(const GuestRam& ram) {
  struct {
    ipc::vhost_user::MemoryTableHeader header{1, 0};
    ipc::vhost_user::MemoryRegion region;
  } table{.region = ram.region()};
  const int fd = ram.fd().get();
  return ask(Request::SetMemTable, table, std::span(&fd, 1));
}

ipc::vhost_user::VringAddr FakeFrontEnd::addresses(const FakeQueue& queue, std::uint32_t index) {
  return {.index = index,
          .flags = 0,
          .descriptor = queue.to_user(queue.table()),
          .used = queue.to_user(queue.used()),
          .available = queue.to_user(queue.available()),
          .log = 0};
}

bool FakeFrontEnd::start(const FakeQueue& queue, std::uint32_t index, std::uint32_t base) {
  using ipc::vhost_user::VringState;
  const int kick = queue.kick_fd().get();
  const int call = queue.call_fd().get();
  const int error = queue.error_fd().get();
  return ask(Request::SetVringNum, VringState{index, queue.size()}) &&
         ask(Request::SetVringBase, VringState{index, base}) && ask(Request::SetVringAddr, addresses(queue, index)) &&
         ask(Request::SetVringCall, std::uint64_t{index}, std::span(&call, 1)) &&
         ask(Request::SetVringErr, std::uint64_t{index}, std::span(&error, 1)) &&
         ask(Request::SetVringKick, std::uint64_t{index}, std::span(&kick, 1)) &&
         ask(Request::SetVringEnable, VringState{index, 1});
}

std::optional<std::uint32_t> FakeFrontEnd::stop(std::uint32_t index) {
  if (!send(Request::GetVringBase, ipc::vhost_user::VringState{index, 0})) return std::nullopt;
  const auto reply = receive();
  const auto state = reply ? reply->as<ipc::vhost_user::VringState>() : std::nullopt;
  return state ? std::optional(state->num) : std::nullopt;
}

SocketPair make_stream_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return {};
  return {ipc::UniqueFd(ends[0]), ipc::UniqueFd(ends[1])};
}

}  // namespace support
