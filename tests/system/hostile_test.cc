#include "tests/system/hostile.h"

#include "tests/support/catch.h"

using system_test::Seconds;

TEST_CASE("a hostile guest harms nobody: monitor, vcpu-host and back ends live, and do not grow", "[system][hostile]") {
  system_test::torment(Seconds(120));
}
