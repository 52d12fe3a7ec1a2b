#include "vcpu-host/devices/cmos_rtc.h"

#include <random>

#include "tests/support/catch.h"
#include "tests/support/fake_hypervisor.h"
#include "tests/unit/vcpu-host/devices/access.h"

using namespace vcpu_host;

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

struct Fixture {
  EventLoop loop = *EventLoop::create();
  ipc::UniqueFd irq = make_event();
  std::int64_t time = 1'753'706'096 * kSecond;  // Monday, 2025-07-28 12:34:56 UTC
  std::unique_ptr<CmosRtc> rtc = *CmosRtc::create(loop, irq, 6ull << 30, [this] { return time; });

  unsigned reg(unsigned index) {
    put(*rtc, 0, index);
    return static_cast<unsigned>(get(*rtc, 1));
  }
  void set(unsigned index, unsigned value) {
    put(*rtc, 0, index);
    put(*rtc, 1, value);
  }
  // Until `time`, whose timer fires within a second of real time.
  void advance(std::int64_t by) {
    time += by;
    static_cast<void>(loop.run_once(2000));
  }
};

}  // namespace

SCENARIO("rtc: the time is read in every format", "[rtc]") {
  Fixture f;
  CHECK(f.reg(0x00) == 0x56);
  CHECK(f.reg(0x02) == 0x34);
  CHECK(f.reg(0x04) == 0x12);
  CHECK(f.reg(0x06) == 0x02);  // Monday
  CHECK(f.reg(0x07) == 0x28);
  CHECK(f.reg(0x08) == 0x07);
  CHECK(f.reg(0x09) == 0x25);
  CHECK(f.reg(0x32) == 0x20);
  CHECK(f.reg(0x0d) == 0x80);
  WHEN("binary is chosen") {
    f.set(0x0b, 0x06);
    CHECK(f.reg(0x00) == 56);
    CHECK(f.reg(0x09) == 25);
  }
  WHEN("12 hours are chosen") {
    f.set(0x0b, 0x00);
    CHECK(f.reg(0x04) == 0x92);  // noon
    f.time += 12 * 60 * 60 * kSecond;
    CHECK(f.reg(0x04) == 0x12);  // midnight
    f.time += 60 * 60 * kSecond;
    CHECK(f.reg(0x04) == 0x01);
  }
}

SCENARIO("rtc: an update is announced before it happens", "[rtc]") {
  Fixture f;
  CHECK((f.reg(0x0a) & 0x80) == 0);
  f.time += kSecond - 200'000;
  CHECK((f.reg(0x0a) & 0x80) != 0);
  CHECK(f.reg(0x00) == 0x56);
  f.time += 200'000;
  CHECK((f.reg(0x0a) & 0x80) == 0);
  CHECK(f.reg(0x00) == 0x57);
}

SCENARIO("rtc: the guest sets the clock, and it goes on from there", "[rtc]") {
  Fixture f;
  f.set(0x0b, 0x82);
  f.time += 10 * kSecond;
  CHECK(f.reg(0x00) == 0x56);  // held
  f.set(0x00, 0x58);
  f.set(0x02, 0x59);
  f.set(0x04, 0x23);
  f.set(0x07, 0x31);
  f.set(0x08, 0x12);
  f.set(0x09, 0x99);
  f.set(0x32, 0x19);
  f.set(0x0b, 0x02);
  CHECK(f.reg(0x00) == 0x58);
  f.time += 2 * kSecond;
  CHECK(f.reg(0x00) == 0x00);
  CHECK(f.reg(0x09) == 0x00);
  CHECK(f.reg(0x32) == 0x20);
  CHECK(f.reg(0x07) == 0x01);
}

SCENARIO("rtc: update-ended and alarm interrupts", "[rtc]") {
  Fixture f;
  f.time += kSecond - 1'000'000;
  WHEN("updates interrupt") {
    f.set(0x0b, 0x12);
    f.advance(1'000'000);
    CHECK(take(f.irq) == 1);
    THEN("there is one edge until register C is read") {
      f.time += 3 * kSecond;
      static_cast<void>(f.loop.run_once(0));
      CHECK(take(f.irq) == 0);
      CHECK((f.reg(0x0c) & 0xb0) == 0x90);
      CHECK(f.reg(0x0c) == 0x00);
    }
  }
  WHEN("an alarm is set for the next second, of any hour") {
    f.set(0x01, 0x57);
    f.set(0x03, 0x34);
    f.set(0x05, 0xff);
    f.set(0x0b, 0x22);
    f.advance(1'000'000);
    THEN("it goes off") {
      CHECK(take(f.irq) == 1);
      CHECK((f.reg(0x0c) & 0xa0) == 0xa0);
    }
  }
  WHEN("nothing is enabled") {
    f.advance(-1);
    THEN("flags are there for who polls") {
      f.time += kSecond;
      CHECK(take(f.irq) == 0);
      CHECK((f.reg(0x0c) & 0x90) == 0x10);
    }
  }
}

SCENARIO("rtc: periodic interrupts wait for register C", "[rtc]") {
  Fixture f;
  f.set(0x0a, 0x26);  // 1024 Hz
  f.set(0x0b, 0x42);
  f.advance(1'000'000);
  CHECK(take(f.irq) == 1);
  f.time += 50'000'000;
  static_cast<void>(f.loop.run_once(20));
  CHECK(take(f.irq) == 0);
  CHECK((f.reg(0x0c) & 0xc0) == 0xc0);
  f.advance(1'000'000);
  CHECK(take(f.irq) == 1);
}

SCENARIO("rtc: memory sizes as firmware expects them", "[rtc]") {
  Fixture f;  // 6 GiB: 2 below the hole, 4 above
  CHECK((f.reg(0x15) | f.reg(0x16) << 8) == 640);
  CHECK((f.reg(0x17) | f.reg(0x18) << 8) == 0xffff);
  CHECK((f.reg(0x34) | f.reg(0x35) << 8) == ((2048u - 16) << 20) >> 16);
  CHECK((f.reg(0x5b) | f.reg(0x5c) << 8 | f.reg(0x5d) << 16) == 0x10000);
  f.set(0x40, 0xa5);
  CHECK(f.reg(0x40) == 0xa5);
}

SCENARIO("rtc: any bytes are some time", "[hostile]") {
  Fixture f;
  std::mt19937 random(7);
  for (int i = 0; i < 100'000; ++i) {
    const unsigned index = random() % 4 == 0 ? 0x32 : random() % 16;
    f.set(index, random());
    f.reg(random());
    if (i % 1000 == 0) static_cast<void>(f.loop.run_once(0));
  }
  f.set(0x0a, 0x26);
  f.set(0x0b, 0x06);
  f.set(0x00, 30);
  CHECK(f.reg(0x00) == 30);
}
