#include "ipc/file_lock.h"

#include <fcntl.h>

#include "tests/support/catch.h"
#include "tests/support/folder.h"

using ipc::Lock;
using ipc::UniqueFd;
using std::chrono::milliseconds;

SCENARIO("A file has one writer or several readers, until the last duplicate is closed", "[ipc][lock]") {
  const support::Folder folder;
  const std::string path = folder.file("image");
  const auto open = [&] { return UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)); };
  UniqueFd first = open();
  const UniqueFd second = open();

  GIVEN("a writer") {
    REQUIRE(ipc::lock_file(first, Lock::Exclusive, milliseconds(0)));
    const auto refused = ipc::lock_file(second, GENERATE(Lock::Shared, Lock::Exclusive), milliseconds(30));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EBUSY);
    WHEN("its duplicate is left") {
      const UniqueFd duplicate(::fcntl(first.get(), F_DUPFD_CLOEXEC, 0));
      first = UniqueFd();
      CHECK_FALSE(ipc::lock_file(second, Lock::Shared, milliseconds(0)));
    }
    WHEN("it is closed") {
      first = UniqueFd();
      CHECK(ipc::lock_file(second, Lock::Exclusive, milliseconds(0)));
    }
    WHEN("it unlocks") {
      ipc::unlock_file(first);
      CHECK(ipc::lock_file(second, Lock::Exclusive, milliseconds(0)));
    }
  }
  GIVEN("a reader") {
    REQUIRE(ipc::lock_file(first, Lock::Shared, milliseconds(0)));
    CHECK(ipc::lock_file(second, Lock::Shared, milliseconds(0)));
    CHECK_FALSE(ipc::lock_file(second, Lock::Exclusive, milliseconds(0)));
  }
  GIVEN("a file that is not open for writing") {
    const UniqueFd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto refused = ipc::lock_file(reader, Lock::Exclusive, milliseconds(0));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == EBADF);
  }
}
