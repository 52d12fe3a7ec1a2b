// The virtio network device (virtio 1.2, 5.1) as its driver sees it, and the threads that serve its queues.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "backends/net/card.h"
#include "backends/net/options.h"
#include "backends/net/queue_group.h"
#include "backends/serve/device.h"
#include "backends/virtio/features.h"
#include "backends/virtio/kept_state.h"

namespace net {

// What the card can leave to the links' other end and take from there.
enum class Abilities : std::uint8_t {
  Frames,  // whole frames alone
  Kernel,  // all that Linux can
  Tcp,     // a peer's header, which may leave a checksum, or a long TCP frame to be cut
};

class Device final : public serve::Device {
 public:
  // `links`: one for each pair, or one, or none as long as nobody is at the other end. To be used by the thread that
  // calls this, which serves the first group. EINVAL for options that make no sense, others as of
  // serve::Groups::create().
  static ipc::Result<std::unique_ptr<Device>> create(std::vector<std::unique_ptr<Link>> links, Abilities abilities,
                                                     const Options& options);

  std::uint64_t features() const override { return features_; }
  std::uint64_t protocol_features() const override;
  std::uint16_t queues() const override { return options_.rings(); }
  std::span<const std::byte> config() const override { return std::as_bytes(std::span(&config_, 1)); }
  ipc::Result<> configure(std::uint32_t offset, std::span<const std::byte> bytes) override;
  void accept(std::uint64_t features) override;
  ipc::Result<> start(std::uint16_t index, virtio::Vring& ring) override;
  void stop(std::uint16_t index) override;
  void suspend(std::uint16_t index) override;
  std::vector<std::byte> save_state() const override { return card_.control.save(); }
  ipc::Result<> load_state(std::span<const std::byte> bytes) override { return card_.control.load(bytes); }
  bool keeps_state() const override { return true; }
  ipc::Result<> keep_in(std::span<std::byte> region) override;
  ipc::Result<> announce(std::uint64_t mac) override;
  ipc::Result<> set_mtu(std::uint64_t mtu) override;

  serve::Groups& groups() override { return *groups_; }
  void forget_front_end() override;
  ipc::Result<bool> attend() override;
  ipc::Result<sandbox::Filter> filter(sandbox::Role role, serve::Group& group, sandbox::Slots slots) override;
  std::string describe() override;

  const Card& card() const { return card_; }

  // All that follows is for when no thread serves. True: the configuration space has changed.
  bool plug(bool in);
  void set_policy(const Policy& policy);
  // Another other end; none: nobody is there.
  ipc::Result<bool> set_links(std::vector<std::unique_ptr<Link>> links);
  // Told when the other end has gone, from attend(): set_links() has forgotten it already.
  void on_link_lost(std::function<void()> lost) { lost_ = std::move(lost); }

 private:
  Device(ipc::UniqueFd attention, std::vector<std::unique_ptr<Link>> links, Abilities abilities,
         const Options& options);
  bool accepted(unsigned feature) const { return (accepted_ & virtio::feature_bit(feature)) != 0; }
  bool is_control(std::uint16_t index) const;
  // Has the thread that serves ring `index` do `work`; or all threads.
  void on(std::uint16_t index, const std::function<void(QueueGroup&)>& work);
  void on_all(const std::function<void(QueueGroup&)>& work);
  void serve_control();
  void execute(const virtio::Head& head, const virtio::Chain& chain);
  // Tells links and threads what has changed by what the driver wants.
  void follow_driver();
  bool update_status();
  void send_rarp(const EthernetAddress& mac);

  Options options_;
  std::optional<telemetry::Segment> counters_;  // where nobody else looks
  Card card_;
  std::uint64_t features_ = 0;
  std::uint64_t accepted_ = 0;
  virtio_net_config config_{};
  std::uint64_t receiving_rings_ = 0;  // a bit for each pair
  virtio::Vring* control_ring_ = nullptr;
  std::uint16_t control_index_ = 0;
  std::vector<std::byte> command_;
  virtio::KeptState kept_;
  std::function<void()> lost_;
  std::unique_ptr<serve::Groups> groups_;  // last: its threads use all the rest
};

}  // namespace net
