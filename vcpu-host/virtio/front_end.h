// The vhost-user front end of one device: it greets the back end, hands it the queues when the driver is
// ready, and takes them back. Everything that the back end says is distrusted; a back end that breaks the
// protocol, hangs up or does not answer is dropped, and the listener told. Another may take its place at any
// time: it gets the record of what was in flight (vhost-user.rst, "Inflight I/O tracking") and goes on.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ipc/error.h"
#include "ipc/guest_memory.h"
#include "ipc/unique_fd.h"
#include "ipc/vhost_user_socket.h"
#include "vcpu-host/event_loop.h"
#include "vcpu-host/virtio/back_end_connection.h"

namespace vcpu_host {

// What a device gets from the monitor (DeviceSetup).
struct DeviceDescriptors {
  BackEndConnection back_end;
  std::vector<ipc::UniqueFd> kicks;  // an eventfd for each queue; as many calls
  std::vector<ipc::UniqueFd> calls;
  // It completes requests in order, and may lose some without harm, as network cards do: of a split ring the used
  // index says where to go on, so that even a back end that keeps no record of what is in flight can be replaced.
  bool loses_harmlessly = false;
};

struct GuestRam {
  const ipc::UniqueFd& memfd;      // borrowed
  std::uint64_t bytes;             // laid out as layout::low_ram and high_ram say
  const ipc::GuestMemory& memory;  // the same, mapped
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
    virtual void back_end_stopped() = 0;  // after stop(), or another has come: it can be started
    virtual void back_end_config_changed() = 0;
    // `resumable`: another can go on where this one was. Otherwise the driver has to begin anew.
    virtual void back_end_lost(const ipc::Error& reason, bool resumable) = 0;
    // Another does what the lost one did, so long after that was lost.
    virtual void back_end_replaced(std::chrono::microseconds gap) = 0;
  };

  struct Limits {
    std::chrono::milliseconds greeting{10'000};  // for all of connect(); of one that takes another's place as below
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

  // Greets another back end in place of the one that there is, or was; does not wait. back_end_stopped() follows, or
  // back_end_lost().
  void reconnect(BackEndConnection connection);

  enum class State : std::uint8_t { Greeting, Stopped, Running, Stopping, Lost };
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
  // After a Pause or a loss: the next start() begins anew.
  void forget_rings();

  // The driver wrote configuration space: inside config(), or it has no effect. A back end that takes another's place
  // hears of it too.
  void write_config(std::size_t offset, std::span<const std::byte> bytes);

 private:
  struct Outgoing {
    ipc::vhost_user::Request request;
    std::vector<std::byte> payload;
    std::vector<int> fds;  // borrowed: of this object, or guest RAM
    std::uint16_t queue;
    bool acknowledged;  // it has no answer of its own, and asks for one
  };
  struct Expected {
    ipc::vhost_user::Request request;
    std::uint16_t queue;
  };
  struct ConfigWrite {
    std::size_t offset;
    std::vector<std::byte> bytes;
  };

  FrontEnd(EventLoop& loop, DeviceDescriptors descriptors, GuestRam ram, Limits limits)
      : loop_(loop),
        descriptors_(std::move(descriptors)),
        ram_(ram),
        limits_(limits),
        started_(queues()),
        bases_(queues()) {}

  bool has(ipc::vhost_user::ProtocolFeature feature) const;

  // greeting.cc
  ipc::Result<> adopt(BackEndConnection connection);
  ipc::Result<> wait_for_greeting();
  void ask_for_config();
  ipc::Result<> accept_greeting(const ipc::vhost_user::Message& reply, ipc::vhost_user::Request request);
  ipc::Result<> accept_first_config(const ipc::vhost_user::Message& reply);
  static const char* name_of(ipc::vhost_user::Request request);

  void queue_message(ipc::vhost_user::Request request, std::span<const std::byte> payload = {},
                     std::vector<int> fds = {}, std::uint16_t queue = 0);
  void queue_state(ipc::vhost_user::Request request, std::uint16_t queue, std::uint32_t value);
  void queue_reset();
  void queue_memory_table();
  void queue_inflight(ipc::vhost_user::Request request);
  void queue_rings();
  void queue_ring(std::uint16_t queue, const QueueSetup& setup);
  void queue_config(const ConfigWrite& write);
  std::uint16_t used_index(const QueueSetup& setup) const;
  bool tracks_inflight() const;
  void send_pending();
  void socket_ready();
  ipc::Result<> accept_reply(ipc::vhost_user::Message& message);
  ipc::Result<> accept_config(const ipc::vhost_user::Message& message);
  ipc::Result<> accept_inflight(ipc::vhost_user::Message& message);
  void back_end_request_ready();
  ipc::Result<> accept_request(const ipc::vhost_user::Message& message);
  void fetch_config();
  void arm_timer();
  void timer_expired();
  void lose_for_silence();
  void settle();
  void tell_replaced();
  void drop_connection();
  void lose(ipc::Error reason);

  EventLoop& loop_;
  DeviceDescriptors descriptors_;
  GuestRam ram_;
  Limits limits_;
  Listener* listener_ = nullptr;
  ipc::vhost_user::Socket socket_;    // to the back end
  ipc::vhost_user::Socket requests_;  // from it; without BACKEND_REQ there is none
  ipc::UniqueFd requester_;           // its end of that, until it has it
  ipc::UniqueFd timer_;
  State state_ = State::Lost;
  Stop how_ = Stop::Reset;
  ipc::Error loss_;                                               // why the last one was lost
  std::optional<std::chrono::steady_clock::time_point> lost_at_;  // until another has taken its place

  bool greeted_once_ = false;
  bool negotiates_ = false;  // VHOST_USER_F_PROTOCOL_FEATURES
  std::uint64_t features_ = 0;
  std::uint64_t protocol_features_ = 0;  // agreed on
  std::size_t asked_config_ = 0;         // index in the sizes that a greeting asks for
  std::vector<std::byte> config_;
  std::vector<ConfigWrite> config_writes_;  // since the last reset: one for each place
  bool replay_config_ = false;              // to the back end that takes another's place
  bool fetching_config_ = false;
  bool fetch_config_again_ = false;

  std::vector<QueueSetup> setups_;    // of the last start()
  std::vector<bool> started_;         // queue by queue
  std::vector<std::uint32_t> bases_;  // where the next start() goes on
  bool used_ = false;                 // this back end has been started since its last reset
  bool fresh_ = true;                 // it begins anew
  bool unknown_bases_ = false;        // the last back end was lost and has not told them
  bool packed_ = false;
  ipc::UniqueFd inflight_;  // never mapped here: the back end's record, for the one after it
  ipc::vhost_user::Inflight inflight_layout_{};
  std::deque<Outgoing> outgoing_;
  std::deque<Expected> expected_;
  bool watching_writable_ = false;
};

}  // namespace vcpu_host
