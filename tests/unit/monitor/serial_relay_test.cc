// The guest's serial line: a socket in the place of vcpu-host, pipes, files and a pty in the operator's.
#include "monitor/serial_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <tuple>

#include "tests/support/catch.h"

using ipc::UniqueFd;
using monitor::SerialRelay;

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMegabyte = 1 << 20;

std::pair<UniqueFd, UniqueFd> make_pipe() {
  std::array<int, 2> ends{};
  REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// Bytes of which none is like its neighbours.
std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint32_t state = 1;
  for (char& byte : bytes) byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
  return bytes;
}

// What can be read now.
std::string read_some(const UniqueFd& fd) {
  std::array<char, 65536> bytes;
  pollfd ready{.fd = fd.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, 0) < 1) return {};
  const ssize_t count = ::read(fd.get(), bytes.data(), bytes.size());
  return {bytes.data(), count > 0 ? static_cast<std::size_t>(count) : 0};
}

// Other descriptors than the test's own as standard input and output, while a relay takes them: what the test
// itself prints must not go there.
class Stdio {
 public:
  Stdio(const UniqueFd& input, const UniqueFd& output) {
    std::fflush(stdout);
    REQUIRE(::dup2(input.get(), 0) == 0);
    REQUIRE(::dup2(output.get(), 1) == 1);
  }
  ~Stdio() {
    ::dup2(input_.get(), 0);
    ::dup2(output_.get(), 1);
  }
  Stdio(const Stdio&) = delete;
  Stdio& operator=(const Stdio&) = delete;

 private:
  UniqueFd input_{::fcntl(0, F_DUPFD_CLOEXEC, 10)};
  UniqueFd output_{::fcntl(1, F_DUPFD_CLOEXEC, 10)};
};

struct Line {
  ipc::EventLoop loop = std::move(ipc::EventLoop::create().value());
  std::vector<std::string> told;
  std::unique_ptr<SerialRelay> relay;
  UniqueFd guest;

  Line(const UniqueFd& input, const UniqueFd& output)
      : Line(monitor::SerialStdio{}, std::make_unique<Stdio>(input, output)) {}
  explicit Line(const monitor::SerialConfiguration& configuration, const std::unique_ptr<Stdio>& = nullptr) {
    ::signal(SIGPIPE, SIG_IGN);  // as the monitor does
    auto made = SerialRelay::create(
        loop, configuration,
        {.stop = [] {}, .power_button = [] {}, .tell = [this](const std::string& text) { told.push_back(text); }});
    REQUIRE(made);
    relay = std::move(*made);
    plug_in();
  }
  void plug_in() {
    auto end = relay->attach();
    REQUIRE(end);
    guest = std::move(*end);
    ::fcntl(guest.get(), F_SETFL, O_NONBLOCK);
  }
  void turn() { REQUIRE(loop.run_once(0)); }
  // Writes as much as is taken; the rest stays in `bytes`.
  void write_some(std::string_view& bytes) {
    const ssize_t count = ::send(guest.get(), bytes.data(), std::min<std::size_t>(bytes.size(), 4096), MSG_NOSIGNAL);
    if (count > 0) bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  void write_all(std::string_view bytes) {
    for (const auto limit = Clock::now() + 20s; !bytes.empty() && Clock::now() < limit;) {
      write_some(bytes);
      turn();
    }
    REQUIRE(bytes.empty());
  }
};

class TemporaryFile {
 public:
  TemporaryFile() { REQUIRE(UniqueFd(::mkstemp(path.data()))); }
  ~TemporaryFile() { std::filesystem::remove(path); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  std::string text() const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string path = (std::filesystem::temp_directory_path() / "bulkhead-serial.XXXXXX").string();
};

double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// How often the loop wakes up in a short time in which nothing happens.
int idle_turns(Line& line) {
  int turns = 0;
  for (const auto limit = Clock::now() + 100ms; Clock::now() < limit; ++turns) REQUIRE(line.loop.run_once(20));
  return turns;
}

constexpr int kIdle = 20;

}  // namespace

TEST_CASE("a megabyte of guest output passes whole into a file, after what was in it") {
  TemporaryFile file;
  std::ofstream(file.path) << "before\n";
  const std::string bytes = pattern(kMegabyte);
  Line line(monitor::SerialFile{file.path});
  line.write_all(bytes);
  line.guest = UniqueFd();
  line.relay->detach();
  CHECK(file.text() == "before\n" + bytes);
}

TEST_CASE("a serial file is made when there is none, and its folder is not") {
  TemporaryFile file;
  std::filesystem::remove(file.path);
  Line line(monitor::SerialFile{file.path});
  struct stat status{};
  REQUIRE(::stat(file.path.c_str(), &status) == 0);
  CHECK((status.st_mode & 07) == 0);
  const auto refused = SerialRelay::create(line.loop, monitor::SerialFile{"/nowhere/at/all"}, {});
  REQUIRE_FALSE(refused);
  CHECK(ipc::describe(refused.error()) == "serial: file /nowhere/at/all: No such file or directory");
}

TEST_CASE("a megabyte of guest output passes whole through a pty, and its input comes back") {
  Line line(monitor::SerialPty{});
  REQUIRE(line.told.size() == 1);
  const std::string prefix = "serial port on ";
  REQUIRE_THAT(line.told[0], Catch::StartsWith(prefix));
  const UniqueFd terminal(
      ::open(line.told[0].substr(prefix.size()).c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  REQUIRE(terminal);

  const std::string bytes = pattern(kMegabyte);
  std::string_view left = bytes;
  std::string seen;
  for (const auto limit = Clock::now() + 20s; seen.size() < bytes.size() && Clock::now() < limit;) {
    line.write_some(left);
    line.turn();
    seen += read_some(terminal);
  }
  CHECK((seen == bytes));

  REQUIRE(::write(terminal.get(), "\x01xls\r", 5) == 5);  // no terminal of ours: no escape key
  std::string heard;
  for (const auto limit = Clock::now() + 5s; heard.size() < 5 && Clock::now() < limit;) {
    line.turn();
    heard += read_some(line.guest);
  }
  CHECK(heard == "\x01xls\r");
}

TEST_CASE("a guest whose output nobody reads is held back, not buffered without end, nothing is lost") {
  auto [nothing, input] = make_pipe();
  auto [reader, output] = make_pipe();
  Line line(nothing, output);
  const std::string bytes = pattern(8 * kMegabyte);
  std::string_view left = bytes;
  for (int i = 0; i < 4000; ++i) {
    line.write_some(left);
    line.turn();
  }
  const std::size_t taken = bytes.size() - left.size();
  CHECK(taken < kMegabyte);  // our buffer, a pipe's and a socket's
  CHECK(idle_turns(line) < kIdle);

  std::string seen;
  for (const auto limit = Clock::now() + 20s; seen.size() < bytes.size() && Clock::now() < limit;) {
    line.write_some(left);
    line.turn();
    seen += read_some(reader);
  }
  CHECK((seen == bytes));
}

TEST_CASE("the machine goes on when its standard input ends") {
  auto [input, writer] = make_pipe();
  auto [reader, output] = make_pipe();
  Line line(input, output);
  REQUIRE(::write(writer.get(), "last", 4) == 4);
  writer = UniqueFd();
  CHECK(idle_turns(line) < kIdle);
  CHECK(read_some(line.guest) == "last");
  line.write_all("still here");
  line.turn();
  CHECK(read_some(reader) == "still here");
  CHECK(line.told.empty());
}

TEST_CASE("standard input from a file reaches the guest whole, as fast as it reads") {
  TemporaryFile file;
  const std::string bytes = pattern(kMegabyte);
  std::ofstream(file.path) << bytes;
  const UniqueFd input(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC));
  auto [reader, output] = make_pipe();
  Line line(input, output);
  std::string heard;
  for (const auto limit = Clock::now() + 20s; heard.size() < bytes.size() && Clock::now() < limit;) {
    line.turn();
    heard += read_some(line.guest);
  }
  CHECK((heard == bytes));
}

TEST_CASE("a guest that reads no input, whose writer has hung up, costs no time") {
  auto [input, writer] = make_pipe();
  auto [reader, output] = make_pipe();
  Line line(input, output);
  ::fcntl(writer.get(), F_SETFL, O_NONBLOCK);
  const std::string bytes(4096, 'x');
  for (int i = 0; i < 500; ++i) {  // until socket, buffer and pipe are full
    [[maybe_unused]] const ssize_t written = ::write(writer.get(), bytes.data(), bytes.size());
    line.turn();
  }
  writer = UniqueFd();
  CHECK(idle_turns(line) < kIdle);
}

TEST_CASE("a reader that hangs up is told of once, when there is output to lose, waiting for it costs no time") {
  auto [input, writer] = make_pipe();
  auto [reader, output] = make_pipe();
  Line line(input, output);
  output = UniqueFd();
  reader = UniqueFd();
  CHECK(idle_turns(line) < kIdle);
  CHECK(line.told.empty());
  line.write_all(pattern(100'000));
  CHECK(line.told == std::vector<std::string>{"serial port: its output is lost from here on: Broken pipe"});
  CHECK(idle_turns(line) < kIdle);
}

TEST_CASE("output to nowhere is taken and thrown away") {
  Line line(monitor::SerialNone{});
  line.write_all(pattern(kMegabyte));
  line.guest = UniqueFd();
  line.relay->detach();
  CHECK(line.told.empty());
}

TEST_CASE("what a guest wrote before its end is passed on, and the next guest's follows it") {
  auto [input, writer] = make_pipe();
  auto [reader, output] = make_pipe();
  Line line(input, output);
  REQUIRE(::write(line.guest.get(), "first, ", 7) == 7);
  line.guest = UniqueFd();
  line.relay->detach();
  line.plug_in();
  REQUIRE(::write(line.guest.get(), "second", 6) == 6);
  line.guest = UniqueFd();
  line.relay->detach();
  CHECK(read_some(reader) == "first, second");
}

TEST_CASE("flushing waits for a reader that is slow") {
  auto [input, writer] = make_pipe();
  auto [reader, output] = make_pipe();
  Line line(input, output);
  const std::string bytes = pattern(150'000);
  std::string_view left = bytes;
  for (int i = 0; i < 100; ++i) {
    line.write_some(left);
    line.turn();
  }
  REQUIRE(left.empty());
  line.guest = UniqueFd();
  std::string seen;
  std::thread slow([&, from = &reader] {
    for (const auto limit = Clock::now() + 20s; seen.size() < bytes.size() && Clock::now() < limit;) {
      std::this_thread::sleep_for(5ms);
      seen += read_some(*from);
    }
  });
  line.relay->detach();
  slow.join();
  CHECK((seen == bytes));
}

TEST_CASE("flushing waits for no more than two seconds while nothing is read, and ten for a reader that trickles") {
  const bool trickles = GENERATE(false, true);
  auto [input, writer] = make_pipe();
  auto [reader, output] = make_pipe();
  Line line(input, output);
  const std::string bytes = pattern(kMegabyte);
  std::string_view left = bytes;
  for (int i = 0; i < 400; ++i) {
    line.write_some(left);
    line.turn();
  }
  line.guest = UniqueFd();
  std::atomic<bool> over = false;
  std::thread trickle([&, from = &reader] {
    while (trickles && !over) {
      std::this_thread::sleep_for(500ms);
      std::array<char, 4096> little;
      pollfd ready{.fd = from->get(), .events = POLLIN, .revents = 0};
      if (::poll(&ready, 1, 0) == 1) std::ignore = ::read(from->get(), little.data(), little.size());
    }
  });
  const auto begin = Clock::now();
  const double before = cpu_seconds();
  line.relay->detach();
  const auto taken = Clock::now() - begin;
  over = true;
  trickle.join();
  CHECK(line.told.empty());
  CHECK(taken >= (trickles ? 9500ms : 1900ms));
  CHECK(taken < (trickles ? 15s : 9s));
  CHECK(cpu_seconds() - before < 1);
}
