#include "vcpu-host/devices/reset.h"

#include "tests/support/catch.h"
#include "tests/unit/vcpu-host/devices/access.h"

using namespace vcpu_host;

SCENARIO("reset control: bit 2 rising resets", "[reset]") {
  int resets = 0;
  ResetControl control([&] { ++resets; });
  put(control, 0, 0x02);
  CHECK(resets == 0);
  put(control, 0, 0x06);
  CHECK(resets == 1);
  put(control, 0, 0x06);
  CHECK(resets == 1);
  CHECK(get(control, 0) == 0x06);
}

SCENARIO("keyboard controller: there is none, but its reset command works", "[reset]") {
  int resets = 0;
  KeyboardReset keyboard([&] { ++resets; });
  CHECK(get(keyboard, 0) == 0xff);
  put(keyboard, 0, 0xaa);
  CHECK(resets == 0);
  put(keyboard, 0, 0xfe);
  CHECK(resets == 1);
}
