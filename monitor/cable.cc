#include "monitor/cable.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/unix_socket.h"
#include "monitor/message.h"
#include "monitor/retry.h"

namespace monitor {
namespace {

using ipc::Result;
using ipc::UniqueFd;

class Cable final : public WayOut {
 public:
  Cable(ipc::EventLoop& loop, std::string path, const sockaddr_un& address, std::string machine, std::string name)
      : loop_(loop),
        path_(std::move(path)),
        address_(address),
        machine_(std::move(machine)),
        name_(std::move(name)),
        retry_(loop) {}
  ~Cable() override { stop_listening(); }

  ipc::schema::NetworkSetup::Kind kind() const override { return ipc::schema::NetworkSetup::Kind::CABLE; }
  std::string describe() const override { return "a cable to another machine"; }

  Result<std::vector<UniqueFd>> attach(Link link) override {
    link_ = std::move(link);
    std::vector<UniqueFd> ends;
    if (auto end = TRY(plug_in())) ends.push_back(std::move(*end));
    return ends;
  }
  void detach() override {
    link_ = nullptr;
    retry_.cancel();
    stop_listening();
  }
  void lost() override {
    say(machine_, fmt::format("{}: the machine at the other end of {} has gone", name_, path_));
    again();
  }

 private:
  void again() {
    const auto armed = retry_.after(std::chrono::seconds(1), [this] {
      auto end = plug_in();
      if (!end) return again();
      if (*end && link_) link_(std::move(**end));
    });
    if (!armed) say(machine_, fmt::format("{}: {}", name_, ipc::describe(armed.error())));
  }

  // Connects to who waits, or waits for who connects: then there is nothing yet.
  Result<std::optional<UniqueFd>> plug_in() {
    if (listener_) return std::optional<UniqueFd>();
    auto socket = ipc::connect_unix(path_, SOCK_STREAM | SOCK_NONBLOCK);
    if (socket) return std::optional(std::move(*socket));
    const int code = socket.error().code;
    if (code == ECONNREFUSED) TRY(remove_stale());
    if (code != ECONNREFUSED && code != ENOENT) return std::unexpected(std::move(socket).error());
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!listener) return ipc::system_failure("make a Unix socket");
    if (::bind(listener.get(), ipc::generic(address_), sizeof address_) != 0) return ipc::system_failure(path_);
    listener_ = std::move(listener);
    if (::listen(listener_.get(), 1) != 0) return ipc::system_failure(path_);
    TRY(loop_.watch(listener_, [this] { admit(); }));
    return std::optional<UniqueFd>();
  }

  // Who was killed leaves his socket behind.
  Result<> remove_stale() const {
    struct stat status{};
    if (::lstat(path_.c_str(), &status) != 0) return errno == ENOENT ? Result<>() : ipc::system_failure(path_);
    if (!S_ISSOCK(status.st_mode)) return ipc::failure(EEXIST, fmt::format("{}: it is no socket", path_));
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT) return ipc::system_failure(path_);
    return {};
  }

  // One at a time: with the second machine there, a third finds nobody.
  void admit() {
    UniqueFd end(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!end) return;
    stop_listening();
    if (link_) link_(std::move(end));
  }

  void stop_listening() {
    if (!listener_) return;
    loop_.unwatch(listener_);
    listener_ = UniqueFd();
    ::unlink(path_.c_str());
  }

  ipc::EventLoop& loop_;
  const std::string path_;
  const sockaddr_un address_;
  const std::string machine_;
  const std::string name_;
  Retry retry_;
  Link link_;
  UniqueFd listener_;  // while we wait
};

}  // namespace

Result<std::unique_ptr<WayOut>> make_cable(ipc::EventLoop& loop, const std::string& path, const std::string& machine,
                                           const std::string& name) {
  const sockaddr_un address = TRY(ipc::unix_address(path));
  return std::make_unique<Cable>(loop, path, address, machine, name);
}

}  // namespace monitor
