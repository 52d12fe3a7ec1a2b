// A vhost-user back end on the other end of a socket pair: it answers as the specification says, or as the
// test told it to, and remembers what it was asked.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "ipc/unique_fd.h"
#include "ipc/vhost_user_socket.h"
#include "vcpu-host/event_loop.h"
#include "vcpu-host/virtio/back_end_connection.h"

namespace vcpu_host {

class ScriptedBackEnd {
 public:
  using Request = ipc::vhost_user::Request;
  using Payload = std::vector<std::byte>;

  ScriptedBackEnd();  // makes the socket pair
  ~ScriptedBackEnd();

  BackEndConnection take_connection();  // what the front end gets

  // As another back end in this one's place: with a new socket pair, and nothing seen.
  void begin_anew();

  // Answers from another thread until finish_greeting(), for the part where the front end waits.
  void begin_greeting();
  void finish_greeting();

  // Answers whatever has arrived. With `loop`, goes on until both sides have nothing to say.
  void serve();
  void run(EventLoop& loop);

  void hang_up() { socket_ = ipc::vhost_user::Socket(); }
  void send(Request request, std::uint32_t flags, const Payload& payload);
  void change_config(Payload config, bool needs_reply = false);  // and says so on its own channel

  std::uint64_t features = std::uint64_t{1} << 32 | std::uint64_t{1} << 30 | std::uint64_t{1} << 29 | 1u << 9;
  std::uint64_t protocol_features = 1u << 0 | 1u << 3 | 1u << 5 | 1u << 9 | 1u << 16;
  std::uint64_t queues = 64;
  Payload config = Payload(16, std::byte{0x5a});
  std::uint32_t vring_base = 7;
  ipc::UniqueFd inflight;  // what GET_INFLIGHT_FD is answered with
  // Instead of the answer to a request; an empty one is no answer at all.
  std::map<Request, std::optional<Payload>> answers;

  struct Seen {
    Request request;
    Payload payload;
    std::size_t fds;
  };
  std::vector<Seen> seen;
  std::size_t count(Request request) const;
  template <class T>
  std::optional<T> last(Request request) const {
    std::optional<T> found;
    for (const Seen& message : seen) {
      if (message.request != request || message.payload.size() < sizeof(T)) continue;
      T value;
      std::memcpy(&value, message.payload.data(), sizeof value);
      found = value;
    }
    return found;
  }
  std::optional<std::uint64_t> acknowledged;  // what the front end answered on the back end's channel

 private:
  void answer(ipc::vhost_user::Message& message);

  ipc::UniqueFd theirs_;
  ipc::vhost_user::Socket socket_;
  ipc::vhost_user::Socket requests_;
  std::atomic<bool> greeting_ = false;
  std::thread thread_;
};

}  // namespace vcpu_host
