// The disk behind a vhost-user socket: what it offers, and its virtqueues.
#pragma once

#include <memory>
#include <stdexcept>

#include "tests/support/fake_driver.h"

namespace bench {

// A measurement that cannot be made: there is nobody to recover for, so main() prints it and exits.
class Failure : public std::runtime_error {
  using runtime_error::runtime_error;
};

struct RingPlaces {  // guest addresses, as SET_VRING_ADDR names them
  std::uint64_t descriptors, driver_area, device_area;
};

class Target {
 public:
  explicit Target(const std::string& socket_path);

  std::uint64_t features() const { return features_; }  // as offered
  std::uint64_t bytes() const { return bytes_; }        // of the disk
  std::uint64_t queues() const { return queues_; }      // at most

  // Accepts `features` for what follows, and shows the guest's RAM.
  void accept(std::uint64_t features, const support::GuestRam& ram);
  void start(std::uint32_t index, std::uint16_t size, std::uint32_t base, const RingPlaces& ring,
             const ipc::UniqueFd& kick, const ipc::UniqueFd& call);
  void stop(std::uint32_t index);
  const ipc::UniqueFd& socket() const { return socket_; }  // readable: the back end has hung up

 private:
  ipc::UniqueFd socket_;  // a duplicate, to wait on
  std::unique_ptr<support::FakeFrontEnd> front_end_;
  std::uint64_t features_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t queues_ = 1;
};

}  // namespace bench
