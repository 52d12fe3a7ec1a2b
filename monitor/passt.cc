#include "monitor/passt.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>

#include "monitor/message.h"
#include "monitor/retry.h"

namespace monitor {
namespace {

using ipc::Result;
using ipc::UniqueFd;

constexpr const char* kProgram = "/usr/bin/passt";
constexpr int kSocketFd = 3;

class UserWay final : public WayOut {
 public:
  UserWay(ipc::EventLoop& loop, std::vector<std::string> arguments, std::string machine, std::string name)
      : arguments_(std::move(arguments)), machine_(std::move(machine)), name_(std::move(name)), retry_(loop) {}
  ~UserWay() override { end(); }

  ipc::schema::NetworkSetup::Kind kind() const override { return ipc::schema::NetworkSetup::Kind::STREAM; }
  std::string describe() const override { return "the host's network, by passt"; }

  Result<std::vector<UniqueFd>> attach(Link link) override {
    link_ = std::move(link);
    std::vector<UniqueFd> ends;
    ends.push_back(TRY(start()));
    return ends;
  }
  void detach() override {
    link_ = nullptr;
    retry_.cancel();
    end();
  }
  // It goes with its connection, and the connection with it.
  void lost() override {
    end();
    say(machine_, fmt::format("{}: passt has ended, and is started again", name_));
    again();
  }

 private:
  void again() {
    const auto armed = retry_.after(std::chrono::seconds(1), [this] {
      auto socket = start();
      if (!socket) {
        say(machine_, fmt::format("{}: {}", name_, ipc::describe(socket.error())));
        return again();
      }
      if (link_) link_(std::move(*socket));
    });
    if (!armed) say(machine_, fmt::format("{}: {}", name_, ipc::describe(armed.error())));
  }

  Result<UniqueFd> start() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0)
      return ipc::system_failure("socketpair");
    UniqueFd ours(ends[0]);
    const UniqueFd theirs(ends[1]);
    std::vector<char*> arguments;
    for (std::string& argument : arguments_) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    const pid_t parent = ::getpid();
    child_ = ::fork();
    if (child_ < 0) return ipc::system_failure("start passt");
    if (child_ == 0) become(theirs.get(), parent, arguments.data());
    return ours;
  }

  // It gets its socket and the log, and nothing else of ours.
  [[noreturn]] static void become(int socket, pid_t parent, char** arguments) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int null = ::open("/dev/null", O_RDWR);
    const bool placed = ::getppid() == parent && ::dup2(null, STDIN_FILENO) >= 0 && ::dup2(null, STDOUT_FILENO) >= 0;
    if (socket == kSocketFd)
      ::fcntl(socket, F_SETFD, 0);
    else
      ::dup2(socket, kSocketFd);
    ::syscall(SYS_close_range, kSocketFd + 1, ~0u, 0);
    char* no_environment[] = {nullptr};
    if (placed) ::execve(kProgram, arguments, no_environment);
    ::_exit(127);
  }

  void end() {
    if (child_ <= 0) return;
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
    child_ = -1;
  }

  std::vector<std::string> arguments_;
  const std::string machine_;
  const std::string name_;
  Retry retry_;
  Link link_;
  pid_t child_ = -1;
};

}  // namespace

Result<std::unique_ptr<WayOut>> make_user_way(ipc::EventLoop& loop, const UserConfiguration& user, std::uint16_t mtu,
                                              const std::string& machine, const std::string& name) {
  if (::access(kProgram, X_OK) != 0)
    return ipc::system_failure(fmt::format("{} (of Debian's package passt)", kProgram));
  std::vector<std::string> arguments{"passt", "--foreground",     "--quiet", "--fd", std::to_string(kSocketFd),
                                     "--mtu", std::to_string(mtu)};
  for (const auto& forward : user.forwards) {
    arguments.emplace_back(forward.udp ? "--udp-ports" : "--tcp-ports");
    arguments.push_back(fmt::format("{}:{}", forward.host, forward.guest));
  }
  return std::make_unique<UserWay>(loop, std::move(arguments), machine, name);
}

}  // namespace monitor
