// bulkhead-blk as people start it, and a front end that connects to it. Header-only; asserts nothing.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/blk_driver.h"
#include "tests/support/folder.h"

extern char** environ;

namespace support {

// A folder of its own, with a disk image as make_disk() fills it.
class BlkFolder {
 public:
  explicit BlkFolder(std::size_t sectors) {
    disk = ipc::UniqueFd(::open(image().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    const ipc::UniqueFd content = make_disk(sectors, DiskPlace::Memory);
    std::vector<std::byte> bytes(sectors * kSector);
    if (::pread(content.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()) ||
        ::pwrite(disk.get(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
      disk = ipc::UniqueFd();
  }

  std::string image() const { return folder_.file("disk.img"); }
  std::string socket() const { return folder_.file("blk.sock"); }
  std::string log() const { return folder_.file("log"); }
  std::string logged() const {
    std::ostringstream text;
    text << std::ifstream(log()).rdbuf();
    return text.str();
  }
  // The log, as soon as `text` is in it, or as it is after kPatience.
  std::string logged_soon(const std::string& text) const {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (logged().find(text) == std::string::npos && std::chrono::steady_clock::now() < end) ::usleep(2'000);
    return logged();
  }

  ipc::UniqueFd disk;

 private:
  Folder folder_;
};

// One bulkhead-blk; stdout and stderr go to the end of the folder's log. Killed at the end.
class BlkProgram {
 public:
  BlkProgram(const BlkFolder& folder, std::vector<std::string> arguments) : folder_(folder) {
    const std::string program = std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead-blk";
    std::vector<char*> argv{const_cast<char*>(program.c_str())};
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 1, folder.log().c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (::posix_spawn(&pid_, program.c_str(), &actions, nullptr, argv.data(), environ) != 0) pid_ = -1;
    ::posix_spawn_file_actions_destroy(&actions);
  }
  // Listening at folder.socket() and serving folder.image().
  explicit BlkProgram(const BlkFolder& folder)
      : BlkProgram(folder, {"--socket-path=" + folder.socket(), "--blk-file=" + folder.image()}) {}
  ~BlkProgram() { kill(); }
  BlkProgram(const BlkProgram&) = delete;
  BlkProgram& operator=(const BlkProgram&) = delete;

  // Another program's process, which is ours to end.
  BlkProgram(const BlkFolder& folder, pid_t pid) : folder_(folder), pid_(pid) {}

  pid_t pid() const { return pid_; }
  void signal(int number) const { ::kill(pid_, number); }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  // The exit status, 128 and the signal if it was killed, -1 if it did not end within kPatience.
  int exit_status() {
    int status = 0;
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      ::usleep(2'000);
    }
    return -1;
  }

  // A connection to folder.socket(), or to `path`, as soon as somebody listens there; nothing after kPatience.
  std::unique_ptr<FakeFrontEnd> connect() const { return connect(folder_.socket()); }
  std::unique_ptr<FakeFrontEnd> connect(const std::string& path) const {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      ipc::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
        return std::make_unique<FakeFrontEnd>(std::move(socket));
      ::usleep(2'000);
    }
    return nullptr;
  }

 private:
  const BlkFolder& folder_;
  pid_t pid_ = -1;
};

// What a bulkhead-blk that ends by itself said, and how it ended.
struct Outcome {
  int status;
  std::string said;
};
inline Outcome run_program(const BlkFolder& folder, std::vector<std::string> arguments) {
  BlkProgram program(folder, std::move(arguments));
  const int status = program.exit_status();
  return {status, folder.logged()};
}

inline bool one_line(const std::string& text) {
  return std::ranges::count(text, '\n') == 1 && text.ends_with('\n');
}

// A guest of one front end: RAM and one queue.
struct Guest {
  bool connect(std::unique_ptr<FakeFrontEnd> connection) {
    front_end = std::move(connection);
    return front_end && front_end->greet(ram, std::uint64_t{1} << 32) && front_end->start(queue, 0);
  }
  std::uint8_t run(const BlkRequest& request) { return carry_out(ram, queue, request); }
  std::uint8_t read(std::uint64_t sector) { return run(make_request(ram, VIRTIO_BLK_T_IN, sector, kSector)); }

  explicit Guest(int seals = kSeals) : ram(4 << 20, seals) {}
  GuestRam ram;
  FakeQueue queue{ram, 64};
  std::unique_ptr<FakeFrontEnd> front_end;
};

}  // namespace support
