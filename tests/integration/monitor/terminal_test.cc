// A machine whose serial port is the operator's terminal.
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tests/integration/monitor/supervised.h"
#include "tests/support/catch.h"

using namespace supervised;

namespace {

// The monitor with a terminal of its own for all three standard descriptors.
class OnTerminal {
 public:
  OnTerminal(const Folder& folder, const Wish& wish) {
    auto words = command_line(folder, wish);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    int leader = -1;
    pid_ = ::forkpty(&leader, nullptr, nullptr, nullptr);
    if (pid_ == 0) {
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    leader_ = ipc::UniqueFd(leader);
  }
  ~OnTerminal() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  bool expect(const std::string& text) {
    while (seen_.find(text) == std::string::npos) {
      pollfd more{.fd = leader_.get(), .events = POLLIN, .revents = 0};
      std::array<char, 512> bytes;
      if (::poll(&more, 1, 30'000) != 1) return false;
      const ssize_t count = ::read(leader_.get(), bytes.data(), bytes.size());
      if (count <= 0) return false;
      seen_.append(bytes.data(), static_cast<std::size_t>(count));
    }
    return true;
  }
  void type(const std::string& text) {
    REQUIRE(::write(leader_.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  tcflag_t modes() const {
    termios settings{};
    REQUIRE(::tcgetattr(leader_.get(), &settings) == 0);
    return settings.c_lflag;
  }
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  const std::string& seen() const { return seen_; }

 private:
  pid_t pid_ = -1;
  ipc::UniqueFd leader_;
  std::string seen_;
};

}  // namespace

TEST_CASE("a terminal is the guest's while the machine runs, and as it was afterwards", "[children]") {
  NEEDS_CHILDREN();
  const Folder folder;
  OnTerminal monitor(folder, {.kernel = folder.file("kernel", 1)});
  REQUIRE(monitor.expect("boot 1"));
  CHECK((monitor.modes() & (ICANON | ECHO | ISIG)) == 0);
  SECTION("the guest powers off") {
    monitor.type("off\n");
    CHECK(monitor.wait() == 0);
  }
  SECTION("Ctrl-A p presses the power button, Ctrl-A x ends the machine") {
    monitor.type("\x01p");
    CHECK(monitor.expect("power button"));
    monitor.type("\x01x");
    CHECK(monitor.wait() == 128 + SIGINT);
  }
  INFO(monitor.seen());
  CHECK((monitor.modes() & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG));
}
