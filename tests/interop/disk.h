// A disk image that a guest will use, and the bulkhead-blk that serves it.
#pragma once

#include <memory>
#include <string>

#include "tests/support/blk_program.h"
#include "tests/system/command.h"

namespace interop {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr unsigned kQueues = 2;
constexpr char kSerial[] = "BULKHEAD-0042";

class Disk {
 public:
  // Served at once, by a process with these options besides those that tell what to serve.
  explicit Disk(std::uint64_t bytes, std::vector<std::string> options = {});

  // At which a process listens; several serve the image beside each other.
  std::string socket(const std::string& side = "") const { return folder_.socket() + side; }
  std::unique_ptr<support::BlkProgram> start(const std::string& side) const;
  void serve();                    // by a new process; one that serves it already is killed
  void grow(std::uint64_t bytes);  // and tells the process
  // As serve(), and waits until the new process has written to the image; false: it has not within the limit.
  bool serve_and_wait_for_write(system_test::Seconds limit);
  std::uint64_t allocated() const;  // bytes of the image that are not holes
  // "clean", or what e2fsck found to mend in the image's file system.
  std::string check_file_system() const;

  std::string log() const { return folder_.logged(); }

 private:
  support::BlkFolder folder_;
  std::vector<std::string> options_;
  std::unique_ptr<support::BlkProgram> program_;
};

}  // namespace interop
