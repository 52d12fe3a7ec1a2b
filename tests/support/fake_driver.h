// A vhost-user front end and a virtio driver for tests: they do as they are told, right or wrong, and
// assert nothing.
#pragma once

#include <fcntl.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ipc/mapping.h"
#include "ipc/unique_fd.h"
#include "ipc/vhost_user.h"
#include "ipc/vhost_user_socket.h"

namespace support {

inline constexpr std::uint64_t kGuestBase = 0x10'0000;         // where the RAM is for the guest
inline constexpr std::uint64_t kUserBase = 0x7000'0000'0000;   // and for the front end, as it tells
inline constexpr std::chrono::milliseconds kPatience{10'000};  // for an answer of the device
inline constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

ipc::UniqueFd make_eventfd();
ipc::UniqueFd make_memfd(std::size_t bytes, int seals);
bool readable_within(const ipc::UniqueFd& fd, std::chrono::milliseconds time);
std::size_t open_descriptors();  // of this process

// Guest RAM in a sealed memfd, handed out piece by piece.
class GuestRam {
 public:
  explicit GuestRam(std::size_t bytes, int seals = kSeals);
  // `bytes` of somebody else's, whose file begins at guest address 0: those from kGuestBase on.
  GuestRam(ipc::UniqueFd file, std::size_t bytes);
  const ipc::UniqueFd& fd() const { return fd_; }
  ipc::vhost_user::MemoryRegion region() const { return {kGuestBase, ram_.bytes().size(), kUserBase, 0}; }
  std::uint64_t end() const { return kGuestBase + ram_.bytes().size(); }

  std::uint64_t allocate(std::size_t bytes, std::size_t alignment = 16);  // a guest address
  std::span<std::byte> at(std::uint64_t address, std::size_t bytes) const;
  template <class T>
  T& object(std::uint64_t address) const {
    return *reinterpret_cast<T*>(at(address, sizeof(T)).data());
  }

 private:
  ipc::UniqueFd fd_;
  ipc::Mapping ram_;
  std::uint64_t next_ = kGuestBase;
};

// Descriptors as the driver writes them.
struct Descriptor {
  std::uint64_t address;
  std::uint32_t length;
  std::uint16_t flags = 0;
  std::uint16_t next = 0;
};
inline constexpr std::uint16_t kNext = 1;
inline constexpr std::uint16_t kWrite = 2;
inline constexpr std::uint16_t kIndirect = 4;

struct Used {
  std::uint32_t id;
  std::uint32_t length;
};

enum class Layout : std::uint8_t { Split, Packed };
inline constexpr std::uint64_t kPackedFeature = std::uint64_t{1} << 34;

// The driver's side of one virtqueue. Chains are known by their heads: in a split ring the index of the
// first descriptor, in a packed one the buffer id.
class FakeQueue {
 public:
  FakeQueue(GuestRam& ram, std::uint16_t size, Layout layout = Layout::Split);

  bool packed() const { return layout_ == Layout::Packed; }
  std::uint16_t size() const { return size_; }
  std::uint64_t table() const { return table_; }          // or the packed ring
  std::uint64_t available() const { return available_; }  // or the driver's event suppression
  std::uint64_t used() const { return used_; }            // or the device's
  std::uint64_t to_user(std::uint64_t address) const { return address - kGuestBase + kUserBase; }
  const ipc::UniqueFd& kick_fd() const { return kick_; }
  const ipc::UniqueFd& call_fd() const { return call_; }
  const ipc::UniqueFd& error_fd() const { return error_; }

  // Eventfds of somebody else's in place of our own.
  void adopt(ipc::UniqueFd kick, ipc::UniqueFd call) {
    kick_ = std::move(kick);
    call_ = std::move(call);
  }

  // One descriptor of a split ring's table, as is.
  void put(std::uint16_t index, const Descriptor& descriptor);
  // Makes a chain of `parts`, from the next free descriptors on, or in an indirect table. The head.
  std::uint16_t link(std::span<const Descriptor> parts);
  std::uint16_t link_indirect(std::span<const Descriptor> parts);
  std::uint64_t indirect_table(std::span<const Descriptor> parts);  // its address
  void write_table(std::uint64_t table, std::span<const Descriptor> parts);
  // Makes the chain of `head` another, of one descriptor like the first.
  void replace(std::uint16_t head, const Descriptor& descriptor);
  // Makes `head` available.
  void offer(std::uint16_t head);
  void set_available_index(std::uint16_t index);  // split
  std::uint16_t available_index() const { return next_available_; }
  // Starts at `index` instead of 0, both rings; of a packed ring with wrap counters of `wrap`.
  void start_at(std::uint16_t index, bool wrap = true);
  // SET_VRING_BASE's number for a device that has done nothing since start_at().
  std::uint32_t base() const;

  void kick();
  // Whether the device asked for a kick for the chains offered since the last call.
  bool wants_kick(bool event_idx);
  void suppress_interrupts();
  // With EVENT_IDX: an interrupt when used entry, or packed descriptor, `index` of this lap is written.
  void set_used_event(std::uint16_t index);
  // The next used entry; nothing if there is none now.
  std::optional<Used> take_used();
  // The same, as it comes; nothing after `time`.
  std::optional<Used> wait_used(std::chrono::milliseconds time = kPatience);
  std::uint64_t interrupts();  // since the last call

 private:
  std::uint16_t& word(std::uint64_t address) const { return ram_.object<std::uint16_t>(address); }
  void offer_packed(std::uint16_t id);
  GuestRam& ram_;
  Layout layout_;
  std::uint16_t size_;
  std::uint64_t table_;
  std::uint64_t available_;
  std::uint64_t used_;
  std::uint16_t next_free_ = 0;
  std::uint16_t next_available_ = 0;
  std::uint16_t kicked_ = 0;
  std::uint16_t next_used_ = 0;
  bool available_wrap_ = true;                   // packed
  bool used_wrap_ = true;                        // packed
  std::vector<std::vector<Descriptor>> chains_;  // packed: by id
  ipc::UniqueFd kick_ = make_eventfd();
  ipc::UniqueFd call_ = make_eventfd();
  ipc::UniqueFd error_ = make_eventfd();
};

class FakeFrontEnd {
 public:
  explicit FakeFrontEnd(ipc::UniqueFd socket) : socket_(std::move(socket)) {}

  // Raw: any number, any payload, any descriptors.
  bool send(std::uint32_t request, std::span<const std::byte> payload, std::span<const int> fds = {},
            std::uint32_t flags = 0);
  template <class T>
  bool send(ipc::vhost_user::Request request, const T& payload, std::span<const int> fds = {},
            std::uint32_t flags = 0) {
    return send(static_cast<std::uint32_t>(request), ipc::vhost_user::payload_of(payload), fds, flags);
  }
  std::optional<ipc::vhost_user::Message> receive(std::chrono::milliseconds time = kPatience);
  bool closed();  // the back end hangs up within kPatience

  // A request that is answered with a number; nothing if it is not.
  std::optional<std::uint64_t> get(ipc::vhost_user::Request request);
  // A request with NEED_REPLY: true if it was accepted, false if refused or unanswered.
  template <class T>
  bool ask(ipc::vhost_user::Request request, const T& payload, std::span<const int> fds = {}) {
    return send(request, payload, fds, ipc::vhost_user::kNeedReplyFlag) && acknowledged();
  }
  bool acknowledged();

  // The usual greeting: all protocol features that are offered, `features` of the device's, the RAM.
  bool greet(const GuestRam& ram, std::uint64_t features);
  bool set_memory(const GuestRam& ram);
  bool start(const FakeQueue& queue, std::uint32_t index) { return start(queue, index, queue.base()); }
  bool start(const FakeQueue& queue, std::uint32_t index, std::uint32_t base);
  // Where the ring is, for SET_VRING_ADDR.
  static ipc::vhost_user::VringAddr addresses(const FakeQueue& queue, std::uint32_t index);
  std::optional<std::uint32_t> stop(std::uint32_t index);  // GET_VRING_BASE's number

 private:
  ipc::vhost_user::Socket socket_;
};

struct SocketPair {
  ipc::UniqueFd front_end;
  ipc::UniqueFd back_end;
};
SocketPair make_stream_pair();

}  // namespace support
