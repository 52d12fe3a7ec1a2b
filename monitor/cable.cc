#include "monitor/cable.h"

#include <sys/socket.h>
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
  Cable(ipc::EventLoop& loop, std::string path, std::string machine, std::string name)
      : loop_(loop), path_(std::move(path)), machine_(std::move(machine)), name_(std::move(name)), retry_(loop) {}
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
    if (code != ECONNREFUSED && code != ENOENT) return std::unexpected(std::move(socket).error());
    listener_ = TRY(ipc::bind_unix(path_, SOCK_STREAM | SOCK_NONBLOCK));
    if (::listen(listener_.get(), 1) != 0) return ipc::system_failure(path_);
    TRY(loop_.watch(listener_, [this] { admit(); }));
    return std::optional<UniqueFd>();
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
  const std::string machine_;
  const std::string name_;
  Retry retry_;
  Link link_;
  UniqueFd listener_;  // while we wait
};

}  // namespace

Result<std::unique_ptr<WayOut>> make_cable(ipc::EventLoop& loop, const std::string& path, const std::string& machine,
                                           const std::string& name) {
  TRY(ipc::unix_address(path));  // one that can never be is refused before the machine starts
  return std::make_unique<Cable>(loop, path, machine, name);
}

}  // namespace monitor
