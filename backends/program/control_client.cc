#include "backends/program/control_client.h"

#include <sys/socket.h>

#include "ipc/unix_socket.h"

namespace program {

using ipc::Result;
namespace schema = ipc::schema;

namespace {

constexpr std::chrono::seconds kPatience{5};
constexpr std::size_t kMostText = 1024;
constexpr std::string_view kClosed = "the back end has closed the connection";

}  // namespace

Result<ControlClient> ControlClient::connect(const std::string& path) {
  auto socket = ipc::connect_unix(path, SOCK_SEQPACKET);
  if (!socket && socket.error().code == EPROTOTYPE)
    return ipc::failure(0, fmt::format("{}: it is no control socket", path));
  return ControlClient(path, ipc::ControlChannel(TRY(std::move(socket))));
}

Result<> ControlClient::ask(const Fill& fill, const Read& read) {
  capnp::MallocMessageBuilder message;
  fill(message.initRoot<schema::ControlRequest>());
  auto asked = [&]() -> Result<> {
    auto frame = TRY(channel_.ask(message, {}, kPatience));
    return ipc::guarded([&]() -> Result<> {
      const auto answer = frame.root<schema::ControlAnswer>();
      if (answer.isFailed()) return ipc::failure(0, printable(answer.getFailed()));
      return read(answer, frame.fds);
    });
  }();
  if (asked) return asked;
  // It turns away who has another uid, who asks too often, and all while it has clients enough.
  const int code = asked.error().code;
  if (code == EPIPE || code == ECONNRESET) asked.error() = {0, std::string(kClosed)};
  asked.error().context = fmt::format("{}: {}", path_, asked.error().context);
  return asked;
}

std::string printable(capnp::Text::Reader text) {
  std::string result(text.begin(), std::min(text.size(), kMostText));
  for (char& c : result)
    if (c < ' ' || c > '~') c = '?';
  return result;
}

}  // namespace program
