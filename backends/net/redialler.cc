#include "backends/net/redialler.h"

#include <poll.h>
#include <unistd.h>

#include <array>

#include "backends/program/helper.h"
#include "ipc/descriptor_passing.h"
#include "ipc/unix_socket.h"
#include "sandbox/policy/net.h"

namespace net {
namespace {

using ipc::Result;
using ipc::UniqueFd;

constexpr int kPatienceMs = 1000;  // before the first attempt too: who listens may end every connection at once

// No allocation: its filter has no call for that. Nor does it wait for who listens and does not accept: it would not
// see that who asks has gone.
UniqueFd dial(const sockaddr_un& address) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket && ::connect(socket.get(), ipc::generic(address), sizeof address) != 0) socket = UniqueFd();
  return socket;
}

// False: who asked has gone.
bool answer(const UniqueFd& line, const sockaddr_un& address) {
  UniqueFd socket;
  while (!socket) {
    pollfd gone{.fd = line.get(), .events = 0, .revents = 0};  // it hangs up
    if (::poll(&gone, 1, kPatienceMs) != 0) return false;
    socket = dial(address);
  }
  constexpr std::array<std::byte, 1> kWord{};
  return ipc::send_with_fds(line, kWord, std::array{socket.get()}, 0).has_value();
}

}  // namespace

Result<Redialler> Redialler::start(const std::string& path, bool headers) {
  const sockaddr_un address = TRY(ipc::unix_address(path));
  UniqueFd line = TRY(program::start_helper({
      .what = "the process that connects again",
      .policy = sandbox::kRedialPolicy,
      .slots = {},
      .work =
          [&](const UniqueFd& theirs) {
            char word = 0;
            while (::read(theirs.get(), &word, 1) == 1 && answer(theirs, address)) {
            }
          },
  }));
  return Redialler(std::move(line), headers);
}

void Redialler::ask() const {
  constexpr char kWord = 1;
  [[maybe_unused]] const ssize_t asked = ::write(line_.get(), &kWord, 1);  // where it has gone, link() says so
}

Result<std::unique_ptr<Link>> Redialler::link() const {
  std::array<std::byte, 1> word{};
  auto received = TRY(ipc::receive_with_fds(line_, word, 1, 0));
  if (received.fds.size() != 1) return ipc::failure(EPIPE, "the process that connects again has gone");
  return make_stream_link(std::move(received.fds.front()), headers_);
}

}  // namespace net
