#include "ipc/unique_fd.h"

#include <fcntl.h>

#include "tests/support/catch.h"

using ipc::UniqueFd;

namespace {

UniqueFd open_null() {
  return UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}
bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

}  // namespace

SCENARIO("A descriptor has one owner") {
  GIVEN("an open descriptor") {
    UniqueFd owner = open_null();
    const int number = owner.get();
    REQUIRE(is_open(number));

    WHEN("its owner goes") {
      {
        const UniqueFd scoped = std::move(owner);
      }
      THEN("it is closed") {
        CHECK_FALSE(is_open(number));
      }
    }
    WHEN("it is moved") {
      const UniqueFd next = std::move(owner);
      THEN("only the new owner has it, and it stays open") {
        CHECK(next.get() == number);
        CHECK_FALSE(owner);
        CHECK(is_open(number));
      }
    }
    WHEN("another is moved into its owner") {
      UniqueFd other = open_null();
      const int other_number = other.get();
      owner = std::move(other);
      THEN("the old one is closed, the new one held") {
        CHECK_FALSE(is_open(number));
        CHECK(owner.get() == other_number);
      }
    }
    WHEN("it is released") {
      const int released = owner.release();
      THEN("nobody owns it, and it stays open") {
        CHECK_FALSE(owner);
        CHECK(is_open(released));
        ::close(released);
      }
    }
  }
}
