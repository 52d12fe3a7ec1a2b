// The bytes of a vhost-user connection, with descriptors anywhere between them: the input is a list of
// pieces, each {bytes, descriptors} and its bytes, sent as one sendmsg(2).
#include <sys/socket.h>

#include <cstdlib>

#include "ipc/descriptor_passing.h"
#include "ipc/vhost_user_socket.h"
#include "tests/support/fake_driver.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ipc::UniqueFd passed = support::make_eventfd();
  const std::size_t descriptors = support::open_descriptors();
  {
    auto [front_end, back_end] = support::make_stream_pair();
    ipc::vhost_user::Socket socket(std::move(back_end));
    std::span<const std::uint8_t> rest(data, size);
    bool open = true;
    const auto receive = [&] {
      while (open) {
        const auto message = socket.receive();
        open = message.has_value();
        if (!open || !*message) return;
        const bool bounded = (*message)->payload.size() <= ipc::vhost_user::kMaxPayloadBytes &&
                             (*message)->fds.size() <= ipc::vhost_user::kMaxMessageFds;
        if (!bounded) std::abort();
      }
    };
    while (rest.size() >= 2 && open) {
      const std::size_t bytes = std::min<std::size_t>(rest[0], rest.size() - 2);
      const std::vector<int> fds(rest[1] % 12, passed.get());
      if (bytes > 0) (void)ipc::send_with_fds(front_end, std::as_bytes(rest.subspan(2, bytes)), fds, MSG_DONTWAIT);
      rest = rest.subspan(2 + bytes);
      receive();
    }
    front_end = ipc::UniqueFd();
    receive();
    if (open) std::abort();  // the peer has hung up
  }
  if (support::open_descriptors() != descriptors) std::abort();  // a descriptor leaked
  return 0;
}
