#include "vcpu-host/devices/serial.h"

#include <sys/socket.h>

#include <random>
#include <string>

#include "tests/support/catch.h"
#include "tests/support/fake_hypervisor.h"
#include "tests/unit/vcpu-host/devices/access.h"

using namespace vcpu_host;

namespace {

enum Register : std::uint64_t { kData, kIer, kIir, kLcr, kMcr, kLsr, kMsr, kScratch };

struct Fixture {
  EventLoop loop = *EventLoop::create();
  ipc::UniqueFd irq = make_event();
  ipc::UniqueFd host;
  std::unique_ptr<Serial> serial;

  Fixture() {
    int ends[2] = {-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    host = ipc::UniqueFd(ends[0]);
    serial = *Serial::create(loop, ipc::UniqueFd(ends[1]), irq);
  }
  std::uint64_t reg(Register number) { return get(*serial, number); }
  void set(Register number, unsigned value) { put(*serial, number, value); }
  void type(const std::string& text) {
    REQUIRE(::send(host.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
    settle();
  }
  void settle() {
    for (int i = 0; i < 10; ++i) static_cast<void>(loop.run_once(0));
  }
  std::string printed() {
    std::string text(1 << 20, 0);
    const ssize_t count = ::recv(host.get(), text.data(), text.size(), MSG_DONTWAIT);
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }
};

}  // namespace

SCENARIO("serial: Linux' 8250 driver detects a 16550A", "[serial]") {
  Fixture f;
  f.set(kIer, 0);
  CHECK(f.reg(kIer) == 0);
  f.set(kIer, 0xff);
  CHECK(f.reg(kIer) == 0x0f);
  f.set(kIer, 0);
  f.set(kMcr, 0x1a);  // loopback, OUT2, RTS
  CHECK((f.reg(kMsr) & 0xf0) == 0x90);
  f.set(kMcr, 0);
  f.set(kIir, 0x01);
  CHECK(f.reg(kIir) >> 6 == 3);
  f.set(kIir, 0xe1);
  CHECK((f.reg(kIir) & 0x20) == 0);  // no 64-byte FIFO
  f.set(kScratch, 0x5a);
  CHECK(f.reg(kScratch) == 0x5a);
  f.set(kLcr, 0x80);
  f.set(kData, 0x01);
  f.set(kIer, 0x02);
  CHECK(f.reg(kData) == 0x01);
  CHECK(f.reg(kIer) == 0x02);
  f.set(kLcr, 0x03);
  CHECK(f.reg(kIer) == 0);
  CHECK(f.reg(kLsr) == 0x60);
}

SCENARIO("serial: what is sent in loopback is received", "[serial]") {
  Fixture f;
  f.set(kMcr, 0x10);
  f.type("x");  // stays outside
  f.set(kData, 0xa5);
  CHECK((f.reg(kLsr) & 0x01) == 1);
  CHECK(f.reg(kData) == 0xa5);
  CHECK(f.printed().empty());
  f.set(kData, 1);
  f.set(kData, 2);
  CHECK((f.reg(kLsr) & 0x02) == 0x02);  // overrun, once
  CHECK((f.reg(kLsr) & 0x02) == 0);
}

SCENARIO("serial: modem lines tell of their changes once", "[serial]") {
  Fixture f;
  CHECK(f.reg(kMsr) == 0xb0);
  f.set(kMcr, 0x10);
  CHECK(f.reg(kMsr) == 0x0b);  // DCD, DSR, CTS fell
  CHECK(f.reg(kMsr) == 0x00);
  f.set(kMcr, 0x14);  // OUT1 is RI
  CHECK(f.reg(kMsr) == 0x40);
  f.set(kMcr, 0x10);
  CHECK(f.reg(kMsr) == 0x04);  // its trailing edge
}

SCENARIO("serial: the transmitter interrupts when it is empty", "[serial]") {
  Fixture f;
  f.set(kIer, 0x02);
  CHECK(take(f.irq) == 1);
  CHECK(f.reg(kIir) == 0x02);
  CHECK(f.reg(kIir) == 0x01);  // reading it was the answer
  f.set(kIer, 0x00);
  f.set(kIer, 0x02);  // Linux' test for a broken THRE interrupt
  CHECK(f.reg(kIir) == 0x02);
  CHECK(take(f.irq) == 1);
  f.set(kData, 'a');
  CHECK(take(f.irq) == 1);
  CHECK(f.printed() == "a");
}

SCENARIO("serial: the receiver interrupts, and no byte is lost", "[serial]") {
  Fixture f;
  f.set(kIir, 0x41);  // FIFO, trigger level 4
  f.set(kIer, 0x01);
  f.type("abc");
  CHECK(take(f.irq) == 1);
  CHECK(f.reg(kIir) == 0xcc);  // below the trigger level: timeout
  f.type("d");
  CHECK(f.reg(kIir) == 0xc4);
  for (const char c : std::string("abcd")) CHECK(f.reg(kData) == static_cast<std::uint64_t>(c));
  CHECK(f.reg(kIir) == 0xc1);
  CHECK((f.reg(kLsr) & 1) == 0);
  WHEN("more arrives than the FIFO holds") {
    std::string text;
    for (int i = 0; i < 1000; ++i) text += static_cast<char>('a' + i % 26);
    f.type(text);
    THEN("the rest waits in the socket") {
      std::string received;
      while ((f.reg(kLsr) & 1) != 0) {
        received += static_cast<char>(f.reg(kData));
        f.settle();
      }
      CHECK(received == text);
      CHECK((f.reg(kLsr) & 2) == 0);
    }
  }
}

SCENARIO("serial: interrupts are reported by their priority", "[serial]") {
  Fixture f;
  f.set(kMcr, 0x10);
  f.set(kData, 1);
  f.set(kData, 2);
  f.set(kIer, 0x0f);
  CHECK(f.reg(kIir) == 0x06);  // overrun
  f.reg(kLsr);
  CHECK(f.reg(kIir) == 0x04);
  f.reg(kData);
  CHECK(f.reg(kIir) == 0x02);
  CHECK(f.reg(kIir) == 0x00);
  f.reg(kMsr);
  CHECK(f.reg(kIir) == 0x01);
}

SCENARIO("serial: a host that does not read stops the transmitter, and memory is bounded", "[serial][CVE-2020-27174]") {
  Fixture f;
  std::size_t sent = 0;
  while ((f.reg(kLsr) & 0x20) != 0) {
    for (int i = 0; i < 16; ++i) f.set(kData, static_cast<unsigned>(sent++ % 251));
    REQUIRE(sent < (16u << 20));
  }
  CHECK(f.serial->dropped() == 0);
  f.set(kIer, 0x02);
  take(f.irq);
  WHEN("the driver sends nevertheless") {
    for (int i = 0; i < 100'000; ++i) f.set(kData, 'x');
    THEN("it is dropped and counted") {
      CHECK(f.serial->dropped() > 99'000);
    }
  }
  WHEN("the host reads again") {
    std::string text;
    for (int i = 0; i < 1000 && text.size() < sent; ++i) {
      text += f.printed();
      f.settle();
    }
    THEN("all that was sent is there, and the transmitter interrupts") {
      CHECK(text.size() == sent);
      for (std::size_t i = 0; i < text.size(); i += 997) CHECK(static_cast<unsigned char>(text[i]) == i % 251);
      CHECK((f.reg(kLsr) & 0x60) == 0x60);
      CHECK(take(f.irq) == 1);
    }
  }
}

SCENARIO("serial: it tells when the host has all that the guest wrote", "[serial]") {
  Fixture f;
  int told = 0;
  f.serial->when_drained([&] { ++told; });
  CHECK(told == 1);  // nothing was written

  while ((f.reg(kLsr) & 0x20) != 0) f.set(kData, 'x');  // until the host's side and the buffer are full
  f.serial->when_drained([&] { ++told; });
  f.settle();
  CHECK(told == 1);
  while (!f.printed().empty()) f.settle();
  CHECK(told == 2);
  f.set(kData, 'y');
  f.settle();
  CHECK(told == 2);  // once
}

SCENARIO("serial: who waits for the host to read is told when it goes away", "[serial]") {
  Fixture f;
  int told = 0;
  while ((f.reg(kLsr) & 0x20) != 0) f.set(kData, 'x');
  f.serial->when_drained([&] { ++told; });
  f.host = ipc::UniqueFd();
  f.settle();
  CHECK(told == 1);
}

SCENARIO("serial: the host side goes away", "[serial]") {
  Fixture f;
  WHEN("it ends its input alone") {
    ::shutdown(f.host.get(), SHUT_WR);
    f.settle();
    THEN("it is still written to") {
      f.set(kData, 'z');
      CHECK(f.printed() == "z");
    }
  }
  WHEN("it closes") {
    f.host = ipc::UniqueFd();
    f.settle();
    THEN("the guest goes on") {
      for (int i = 0; i < 200'000; ++i) f.set(kData, 'z');
      CHECK((f.reg(kLsr) & 0x60) == 0x60);
      CHECK(f.serial->dropped() == 0);
    }
  }
}

SCENARIO("serial: a hostile guest", "[hostile]") {
  Fixture f;
  std::mt19937 random(3);
  for (int i = 0; i < 200'000; ++i) {
    const auto number = static_cast<Register>(random() % 8);
    if (random() % 2 == 0)
      f.set(number, random());
    else
      f.reg(number);
    if (i % 64 == 0) f.settle();
    if (i % 5000 == 0 && ::send(f.host.get(), "hello", 5, MSG_DONTWAIT) == 5) f.printed();
  }
  f.set(kLcr, 3);
  f.set(kMcr, 0);
  f.printed();
  f.settle();
  CHECK((f.reg(kLsr) & 0x20) != 0);
}
