#include "tests/interop/monitor.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <stdexcept>
#include <thread>

#include "tests/support/fake_driver.h"

namespace interop {
namespace {

using Clock = std::chrono::steady_clock;
using system_test::Seconds;

constexpr Seconds kPatience(60);  // a loaded machine may be that slow to start QEMU

}  // namespace

Monitor::Monitor(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const auto end = Clock::now() + kPatience;
  do {
    if (Clock::now() > end) throw std::runtime_error("QEMU does not listen at " + path);
    std::this_thread::sleep_for(Seconds(0.02));
    socket_ = ipc::UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  } while (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0);
  line();  // its greeting
  ask("qmp_capabilities");
}

std::string Monitor::line() {
  for (;;) {
    if (const std::size_t end = unread_.find('\n'); end != std::string::npos) {
      std::string first = unread_.substr(0, end);
      unread_.erase(0, end + 1);
      return first;
    }
    std::array<char, 4096> buffer{};
    const bool answered =
        support::readable_within(socket_, std::chrono::duration_cast<std::chrono::milliseconds>(kPatience));
    const ssize_t length = answered ? ::read(socket_.get(), buffer.data(), buffer.size()) : 0;
    if (length <= 0) throw std::runtime_error("QEMU's monitor is silent");
    unread_.append(buffer.data(), static_cast<std::size_t>(length));
  }
}

std::string Monitor::ask(const std::string& command, const std::string& arguments) {
  const std::string request = R"({"execute": ")" + command + R"(", "arguments": )" + arguments + "}\n";
  if (::write(socket_.get(), request.data(), request.size()) != static_cast<ssize_t>(request.size()))
    throw std::runtime_error("QEMU's monitor has gone");
  for (;;) {  // events come in between
    std::string reply = line();
    if (reply.starts_with(R"({"return")")) return reply;
    if (reply.starts_with(R"({"error")")) throw std::runtime_error(command + ": " + reply);
  }
}

bool Monitor::ask_until(const std::string& command, const std::string& text, Seconds limit) {
  const auto end = Clock::now() + limit;
  while (ask(command).find(text) == std::string::npos) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(Seconds(0.1));
  }
  return true;
}

}  // namespace interop
