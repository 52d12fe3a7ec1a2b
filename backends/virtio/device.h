// What a vhost-user session needs of a kind of device. blk::Device is one.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "backends/virtio/vring.h"
#include "ipc/error.h"

namespace virtio {

inline constexpr std::uint16_t kMaxQueues = 64;
inline constexpr std::size_t kMaxState = 4096;  // what a pipe takes at once

class Device {
 public:
  virtual ~Device() = default;

  // The device type's feature bits (virtio 1.2, 5); the session adds those of rings and transport.
  virtual std::uint64_t features() const = 0;
  virtual std::uint16_t queues() const = 0;  // 1 to kMaxQueues
  // Protocol features that only some kinds of devices have, as ipc::vhost_user::bit() makes them.
  virtual std::uint64_t protocol_features() const { return 0; }
  // The configuration space as the driver reads it, at most 256 bytes.
  virtual std::span<const std::byte> config() const = 0;

  // The driver writes `bytes` of the configuration space from `offset` on, inside of it. EINVAL if that
  // is no field that it may write, or not a value of it.
  virtual ipc::Result<> configure(std::uint32_t offset, std::span<const std::byte> bytes) = 0;

  // What the driver accepted of features(). No ring is running.
  virtual void accept(std::uint64_t features) = 0;

  // Guest memory is mapped in these places from now on, and nowhere else: told of each change, before another. No chain
  // that is in flight lies elsewhere.
  virtual void use_memory(std::span<const iovec> /*places*/) {}

  // Ring `index` runs: take chains from it, now and at each kick, until stop(). `ring` stays in place.
  virtual ipc::Result<> start(std::uint16_t index, Vring& ring) = 0;
  // Nothing of ring `index` is in flight; take nothing more from it, and forget it.
  virtual void stop(std::uint16_t index) = 0;

  // Ring `index` is about to stop, and what of it is not being carried out may stay in flight: the
  // region that outlives this process has it, and the next start gives it again. Gives such chains up
  // by Queue::leave(). A device that does not do so makes its front end wait until all is done.
  virtual void suspend(std::uint16_t /*index*/) {}

  // What a migration takes along beside memory, rings and accepted features, at most kMaxState bytes.
  virtual std::vector<std::byte> save_state() const { return {}; }
  // Takes up what save_state() of another process gave, before the features are accepted. No ring is
  // running. EINVAL if it is no such thing: the bytes are the front end's.
  virtual ipc::Result<> load_state(std::span<const std::byte> state) {
    if (!state.empty()) return ipc::failure(EINVAL, "device state where there is none");
    return {};
  }

  // True: keep_in() is wanted.
  virtual bool keeps_state() const { return false; }
  // A front end keeps `region` (of KeptState::kBytes) for this device over the death of this process: takes up what a
  // predecessor left there, and leaves there what a successor needs, until it is told of another; an empty one is none.
  // After the features are accepted; no ring is running. EINVAL, and nothing has changed, for what cannot be taken up.
  virtual ipc::Result<> keep_in(std::span<std::byte> /*region*/) { return {}; }

  // ProtocolFeature::Rarp: tells the network that the card with this MAC address (in the number's lower bytes, the
  // first lowest) is here now.
  virtual ipc::Result<> announce(std::uint64_t /*mac*/) { return ipc::failure(EOPNOTSUPP, "not a network card"); }
  // ProtocolFeature::Mtu: what the front end tells the driver.
  virtual ipc::Result<> set_mtu(std::uint64_t /*mtu*/) { return ipc::failure(EOPNOTSUPP, "not a network card"); }
};

}  // namespace virtio
