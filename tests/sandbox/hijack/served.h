// bulkhead-blk and bulkhead-net as people start them. Header-only.
#pragma once

#include <signal.h>
#include <sys/resource.h>

#include <cstdlib>
#include <fstream>
#include <optional>
#include <stdexcept>

#include "tests/sandbox/hijack/attack.h"
#include "tests/support/folder.h"
#include "tests/system/command.h"

namespace hijacked {

inline constexpr std::size_t kMain = 0;
inline constexpr std::size_t kWorker = 1;

struct Program {
  std::string device;
  std::vector<std::string> options;
};
inline const Program kBlk{"blk", {"--num-queues=2", "--threads=2"}};
inline const Program kNet{"net", {"--null", "--mac=52:54:00:01:02:03", "--queue-pairs=2", "--threads=2"}};

// One, from when it is sealed to its end. Each has an image of its own: one that has just ended may still hold the lock
// on its.
class Served {
 public:
  explicit Served(const Program& program) : device_(program.device), command_(command_line(program)) {
    while (log().find("serving") == std::string::npos)
      if (command_.wait(system_test::Seconds(0.003))) throw std::runtime_error(log());
  }

  // Which table it is in golden/tables.txt.
  std::string table(std::size_t thread) const {
    const bool plain = log().find("and plain calls") != std::string::npos;
    const bool epoll = log().find("by epoll") != std::string::npos;
    return device_ + (thread == kMain ? " standalone" : " worker") +
           (epoll   ? ", no io_uring"
            : plain ? ", memory"
                    : "");
  }
  pid_t thread(std::size_t index) const { return support::threads_of(command_.pid()).at(index); }
  pid_t pid() const { return command_.pid(); }
  std::optional<int> wait() { return command_.wait(system_test::Seconds(30)); }

 private:
  const std::string& log() const { return command_.errors(); }
  std::vector<std::string> command_line(const Program& program) const {
    // The rings of those that have just ended are freed a little later, and count as memory that their user locks.
    constexpr rlimit kAll{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_MEMLOCK, &kAll);
    std::vector<std::string> all{std::string(std::getenv("BULKHEAD_BIN")) + "/bulkhead-" + program.device,
                                 "--socket-path=" + folder_.file("socket")};
    if (program.device == "blk") {
      std::ofstream(folder_.file("disk")) << std::string(65536, '\0');
      all.push_back("--blk-file=" + folder_.file("disk"));
    }
    all.insert(all.end(), program.options.begin(), program.options.end());
    return all;
  }

  const std::string device_;
  support::Folder folder_;
  system_test::Command command_;
};

// The thread makes each, of a process of its own: who has not died of it.
inline std::vector<std::string> survivals(const Program& program, std::size_t thread, const std::vector<Call>& calls) {
  return complaints(calls, [&](const Call& call) -> std::string {
    Served victim(program);
    std::string wrong = complaint(call, support::hijack(victim.thread(thread), call));
    if (wrong.empty() && victim.wait() != 128 + SIGSYS)
      wrong = name_of(call) + ": the thread died, its process did not";
    return wrong;
  });
}

}  // namespace hijacked
