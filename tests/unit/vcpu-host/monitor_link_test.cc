#include "vcpu-host/monitor_link.h"

#include <fcntl.h>

#include "ipc/schema/control.capnp.h"
#include "tests/support/catch.h"

using ipc::ControlChannel;
using ipc::UniqueFd;
using ipc::schema::FromVcpuHost;
using ipc::schema::ToVcpuHost;
using vcpu_host::MonitorLink;

namespace {

struct Fixture {
  ControlChannel monitor;
  MonitorLink link;
  UniqueFd null{::open("/dev/null", O_RDONLY | O_CLOEXEC)};

  static Fixture make() {
    auto pair = ControlChannel::pair();
    REQUIRE(pair);
    return {std::move(pair->ours), MonitorLink(ControlChannel(std::move(pair->theirs)))};
  }
  void send(capnp::MessageBuilder& message, std::size_t fds) {
    REQUIRE(monitor.send(message, std::vector<int>(fds, null.get())));
  }
  void send_setup(bool initrd, std::size_t fds) {
    capnp::MallocMessageBuilder message;
    auto setup = message.initRoot<ToVcpuHost>().initSetup();
    setup.setMemoryMib(64);
    setup.setCpus(2);
    setup.setCmdline("quiet");
    setup.setHasInitrd(initrd);
    send(message, fds);
  }
  void send_device(std::uint16_t queues, std::size_t fds) {
    capnp::MallocMessageBuilder message;
    auto device = message.initRoot<ToVcpuHost>().initDevice();
    device.setVirtioId(2);
    device.setQueues(queues);
    send(message, fds);
  }
  void send_load() {
    capnp::MallocMessageBuilder message;
    message.initRoot<ToVcpuHost>().setLoad();
    send(message, 0);
  }
};

}  // namespace

SCENARIO("The machine arrives as setup, devices, load") {
  Fixture fixture = Fixture::make();
  fixture.send_setup(true, 4);
  fixture.send_device(3, 10);
  fixture.send_device(1, 6);
  fixture.send_load();
  auto machine = fixture.link.receive_machine();
  REQUIRE(machine);
  CHECK(machine->ram_bytes == 64u << 20);
  CHECK(machine->cpus == 2);
  CHECK(machine->cmdline == "quiet");
  CHECK(machine->initrd);
  REQUIRE(machine->devices.size() == 2);
  CHECK(machine->devices[0].kicks.size() == 3);
  CHECK(machine->devices[0].calls.size() == 3);
  CHECK(machine->devices[1].config_call);
  CHECK(machine->devices[1].back_end.requester);
}

SCENARIO("What is not due is refused") {
  Fixture fixture = Fixture::make();
  WHEN("a device comes first") {
    fixture.send_device(1, 6);
    CHECK(fixture.link.receive_machine().error().code == EPROTO);
  }
  WHEN("a descriptor is missing") {
    fixture.send_setup(true, 3);
    CHECK(fixture.link.receive_machine().error().code == EPROTO);
  }
  WHEN("a device has fewer eventfds than queues") {
    fixture.send_setup(false, 3);
    fixture.send_device(2, 6);
    CHECK(fixture.link.receive_machine().error().code == EPROTO);
  }
  WHEN("the monitor goes") {
    fixture.monitor = ControlChannel();
    CHECK(fixture.link.receive_machine().error().code == EPIPE);
  }
  WHEN("an order is asked for and none is there") {
    CHECK(fixture.link.receive_order().error().code == EAGAIN);
  }
}

SCENARIO("Orders and events pass") {
  Fixture fixture = Fixture::make();
  capnp::MallocMessageBuilder message;
  message.initRoot<ToVcpuHost>().setPowerButton();
  fixture.send(message, 0);
  auto order = fixture.link.receive_order();
  REQUIRE(order);
  CHECK(std::holds_alternative<vcpu_host::PowerButton>(*order));

  capnp::MallocMessageBuilder another;
  another.initRoot<ToVcpuHost>().setBackEnd(3);
  fixture.send(another, 3);
  order = fixture.link.receive_order();
  REQUIRE(order);
  REQUIRE(std::holds_alternative<vcpu_host::Reconnect>(*order));
  CHECK(std::get<vcpu_host::Reconnect>(*order).slot == 3);
  fixture.send(another, 2);
  CHECK(fixture.link.receive_order().error().code == EPROTO);

  REQUIRE(fixture.link.send_failed(vcpu_host::FailureKind::Configuration, {ENOEXEC, "kernel: empty file"}));
  auto frame = fixture.monitor.receive();
  REQUIRE(frame);
  const auto failed = (*frame)->root<FromVcpuHost>().getFailed();
  CHECK(failed.getCode() == ENOEXEC);
  CHECK(failed.getContext() == "kernel: empty file");
  CHECK(failed.getKind() == ipc::schema::Failure::Kind::CONFIGURATION);
}
