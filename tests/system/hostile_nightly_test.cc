// An hour of a hostile guest, in six: each begins elsewhere.
#include "tests/support/catch.h"
#include "tests/system/hostile.h"

using system_test::Seconds;

namespace {

constexpr Seconds kTenMinutes(600);

}  // namespace

TEST_CASE("ten minutes of a hostile guest: the first", "[nightly]") {
  system_test::torment(kTenMinutes);
}

TEST_CASE("ten minutes of a hostile guest: the second", "[nightly]") {
  system_test::torment(kTenMinutes);
}

TEST_CASE("ten minutes of a hostile guest: the third", "[nightly]") {
  system_test::torment(kTenMinutes);
}

TEST_CASE("ten minutes of a hostile guest: the fourth", "[nightly]") {
  system_test::torment(kTenMinutes);
}

TEST_CASE("ten minutes of a hostile guest: the fifth", "[nightly]") {
  system_test::torment(kTenMinutes);
}

TEST_CASE("ten minutes of a hostile guest: the sixth", "[nightly]") {
  system_test::torment(kTenMinutes);
}
