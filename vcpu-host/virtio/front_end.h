// The vhost-user front end of one device: it greets the back end, hands it the queues when the driver is
// ready, and takes them back. Everything that the back end says is distrusted; a back end that breaks the
// protocol, hangs up or does not answer is dropped, and the listener told.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "ipc/vhost_user_socket.h"
#include "vcpu-host/event_loop.h"

namespace vcpu_host {

// What a device gets from the monitor (ipc/schema/control.capnp, DeviceSetup).
struct DeviceDescriptors {
  ipc::UniqueFd socket;              // connected to the back end
  std::vector<ipc::UniqueFd> kicks;  // an eventfd for each queue; as many calls
  std::vector<ipc::UniqueFd> calls;
};

struct GuestRam {
  const ipc::UniqueFd& memfd;  // borrowed
  std::uint64_t bytes;         // laid out as layout::low_ram and high_ram say
};

// A virtqueue as the driver set it up. Guest-physical addresses, not yet validated.
struct QueueSetup {
  bool enabled = false;
  std::uint16_t size = 0;  // a power of two
  std::uint64_t descriptors = 0;
  std::uint64_t driver = 0;
  std::uint64_t device = 0;
};

class FrontEnd {
 public:
  static constexpr std::size_t kMaxQueues = 64;

  // Called from the event loop, and from inside start(), stop() and write_config().
  class Listener {
   public:
    virtual ~Listener() = default;
    virtual void back_end_stopped() = 0;
    virtual void back_end_config_changed() = 0;
    virtual void back_end_failed(const ipc::Error& reason) = 0;  // once
  };

  struct Limits {
    std::chrono::milliseconds greeting{10'000};  // for all of connect()
    std::chrono::milliseconds reply{30'000};     // for an answer while the guest runs
  };

  // Greets the back end, waiting for its answers: for the time before the guest runs. Errors name the step:
  // ETIMEDOUT, EPROTO for a malformed answer, EPIPE, ENOTSUP for a back end that lacks VIRTIO_F_VERSION_1 or
  // queues, EINVAL for a number of queues that is not 1 to kMaxQueues or the descriptors'.
  static ipc::Result<std::unique_ptr<FrontEnd>> connect(EventLoop& loop, DeviceDescriptors descriptors, GuestRam ram,
                                                        Limits limits);
  static ipc::Result<std::unique_ptr<FrontEnd>> connect(EventLoop& loop, DeviceDescriptors descriptors, GuestRam ram) {
    return connect(loop, std::move(descriptors), ram, Limits());
  }
  ~FrontEnd();
  FrontEnd(const FrontEnd&) = delete;
  FrontEnd& operator=(const FrontEnd&) = delete;

  void set_listener(Listener* listener) { listener_ = listener; }

  enum class State : std::uint8_t { Stopped, Running, Stopping, Failed };
  State state() const { return state_; }
  std::uint64_t features() const { return features_; }  // virtio feature bits that the back end offers
  std::uint16_t queues() const { return static_cast<std::uint16_t>(descriptors_.kicks.size()); }
  std::span<const std::byte> config() const { return config_; }  // at most 256 bytes; none without CONFIG
  const ipc::UniqueFd& kick(std::uint16_t queue) const { return descriptors_.kicks[queue]; }
  const ipc::UniqueFd& call(std::uint16_t queue) const { return descriptors_.calls[queue]; }

  // Hands the enabled ones of `queues` to the back end; `features` are those that the driver accepted. In
  // state Stopped. False, and nothing is sent, if a ring does not lie in guest RAM, aligned as virtio says.
  bool start(std::uint64_t features, std::span<const QueueSetup> queues);

  // Takes the queues back; back_end_stopped() follows. In state Running. Pause: the next start() goes on
  // where the rings are. Reset: it begins anew.
  enum class Stop : std::uint8_t { Pause, Reset };
  void stop(Stop how);
  // After a Pause, in state Stopped: the next start() begins anew.
  void forget_rings() { fresh_ = true; }

  // The driver wrote configuration space: inside config(), or it has no effect.
  void write_config(std::size_t offset, std::span<const std::byte> bytes);

 private:
  struct Outgoing {
    ipc::vhost_user::Request request;
    std::vector<std::byte> payload;
    std::vector<int> fds;  // borrowed: of descriptors_, or guest RAM
    std::uint16_t queue;
  };
  struct Expected {
    ipc::vhost_user::Request request;
    std::uint16_t queue;
  };
  class Greeting;  // the synchronous part

  FrontEnd(EventLoop& loop, DeviceDescriptors descriptors, GuestRam ram, Limits limits)
      : loop_(loop),
        descriptors_(std::move(descriptors)),
        ram_(ram),
        limits_(limits),
        socket_(std::move(descriptors_.socket)),
        started_(queues()),
        bases_(queues()) {}

  ipc::Result<> watch();
  bool has(ipc::vhost_user::ProtocolFeature feature) const;
  void queue_message(ipc::vhost_user::Request request, std::span<const std::byte> payload, std::vector<int> fds,
                     std::uint16_t queue = 0);
  void queue_state(ipc::vhost_user::Request request, std::uint16_t queue, std::uint32_t value);
  void queue_memory_table();
  void queue_ring(std::uint16_t queue, const QueueSetup& setup);
  void send_pending();
  void socket_ready();
  ipc::Result<> accept_reply(const ipc::vhost_user::Message& message);
  ipc::Result<> accept_config(const ipc::vhost_user::Message& message);
  void back_end_request_ready();
  ipc::Result<> accept_request(const ipc::vhost_user::Message& message);
  void fetch_config();
  void arm_timer();
  void timer_expired();
  void finish_stop();
  void fail(ipc::Error reason);

  EventLoop& loop_;
  DeviceDescriptors descriptors_;
  GuestRam ram_;
  Limits limits_;
  Listener* listener_ = nullptr;
  ipc::vhost_user::Socket socket_;    // to the back end
  ipc::vhost_user::Socket requests_;  // from it; without BACKEND_REQ there is none
  ipc::UniqueFd timer_;
  State state_ = State::Stopped;
  Stop how_ = Stop::Reset;

  bool negotiates_ = false;  // VHOST_USER_F_PROTOCOL_FEATURES
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;  // agreed on
  std::vector<std::byte> config_;
  bool fetching_config_ = false;
  bool fetch_config_again_ = false;

  std::vector<bool> started_;         // queue by queue
  std::vector<std::uint32_t> bases_;  // where the next start() goes on
  bool fresh_ = true;                 // it begins anew
  bool packed_ = false;
  std::deque<Outgoing> outgoing_;
  std::deque<Expected> expected_;
  bool watching_writable_ = false;
};

}  // namespace vcpu_host
