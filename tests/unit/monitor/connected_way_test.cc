// A way out whose other end cannot be reached for a while.
#include "monitor/connected_way.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>

#include "tests/support/catch.h"

namespace {

class Unreachable final : public monitor::ConnectedWay {
 public:
  explicit Unreachable(ipc::EventLoop& loop) : ConnectedWay(loop, "vm", "net0") {}
  ipc::schema::NetworkSetup::Kind kind() const override { return ipc::schema::NetworkSetup::Kind::STREAM; }
  std::string describe() const override { return "nowhere"; }
  void lost() override { again(); }
  int tries = 0;

 private:
  ipc::Result<std::optional<ipc::UniqueFd>> connect() override {
    ++tries;
    return ipc::failure(EACCES, "nowhere");
  }
  void disconnect() override {}
};

// What `body` writes to standard error.
template <class Body>
std::string errors_of(Body body) {
  const ipc::UniqueFd kept(::fcntl(2, F_DUPFD_CLOEXEC, 0));
  const ipc::UniqueFd file(::memfd_create("errors", MFD_CLOEXEC));
  ::dup2(file.get(), 2);
  body();
  ::dup2(kept.get(), 2);
  std::string text(4096, '\0');
  const ssize_t size = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

}  // namespace

TEST_CASE("a way out that cannot be had is tried each second, and said once") {
  auto loop = ipc::EventLoop::create().value();
  Unreachable way(loop);
  const std::string said = errors_of([&] {
    way.lost();
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(3500);
    while (std::chrono::steady_clock::now() < end) REQUIRE(loop.run_once(100));
  });
  CHECK(way.tries >= 2);
  CHECK(said == "bulkhead: vm: net0: nowhere: Permission denied\n");
}
