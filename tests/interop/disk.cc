#include "tests/interop/disk.h"

#include <sys/stat.h>

#include <stdexcept>
#include <thread>

namespace interop {
namespace {

struct stat status_of(const ipc::UniqueFd& file) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) throw std::runtime_error("fstat");
  return status;
}

}  // namespace

Disk::Disk(std::uint64_t bytes, std::vector<std::string> options) : folder_(1), options_(std::move(options)) {
  if (::ftruncate(folder_.disk.get(), static_cast<off_t>(bytes)) != 0) throw std::runtime_error("ftruncate");
  serve();
}

std::unique_ptr<support::BlkProgram> Disk::start(const std::string& side) const {
  std::vector<std::string> arguments{"--socket-path=" + socket(side), "--blk-file=" + folder_.image(),
                                     "--num-queues=" + std::to_string(kQueues), std::string("--serial=") + kSerial};
  arguments.insert(arguments.end(), options_.begin(), options_.end());
  return std::make_unique<support::BlkProgram>(folder_, std::move(arguments));
}

void Disk::serve() {
  program_.reset();
  program_ = start("");
}

bool Disk::serve_and_wait_for_write(system_test::Seconds limit) {
  serve();
  const timespec before = status_of(folder_.disk).st_mtim;
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    const timespec now = status_of(folder_.disk).st_mtim;
    if (now.tv_sec != before.tv_sec || now.tv_nsec != before.tv_nsec) return true;
    std::this_thread::sleep_for(system_test::Seconds(0.002));
  }
  return false;
}

void Disk::grow(std::uint64_t bytes) {
  if (::ftruncate(folder_.disk.get(), static_cast<off_t>(bytes)) != 0) throw std::runtime_error("ftruncate");
  program_->signal(SIGHUP);
}

std::uint64_t Disk::allocated() const {
  return static_cast<std::uint64_t>(status_of(folder_.disk).st_blocks) * 512;
}

std::string Disk::check_file_system() const {
  const system_test::Outcome outcome = system_test::run({"e2fsck", "-fn", folder_.image()});
  return outcome.status == 0 ? "clean" : outcome.output + outcome.errors;
}

}  // namespace interop
