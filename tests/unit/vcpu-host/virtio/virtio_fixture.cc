#include "tests/unit/vcpu-host/virtio/virtio_fixture.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>

namespace vcpu_host {

ipc::UniqueFd make_ram() {
  ipc::UniqueFd ram(::memfd_create("ram", MFD_CLOEXEC));
  [[maybe_unused]] const int sized = ::ftruncate(ram.get(), kRamBytes);
  return ram;
}

ipc::GuestMemory map(const ipc::UniqueFd& ram) {
  ipc::GuestMemory memory;
  memory.add_region({0}, kRamBytes, *ipc::Mapping::of(ram, 0, kRamBytes, ipc::Access::ReadWrite));
  return memory;
}

bool Connection::connect(unsigned queues, FrontEnd::Limits limits, std::uint64_t ram_bytes) {
  DeviceDescriptors descriptors;
  descriptors.back_end = back_end.take_connection();
  for (unsigned i = 0; i < queues; ++i) {
    descriptors.kicks.push_back(make_event());
    descriptors.calls.push_back(make_event());
  }
  back_end.begin_greeting();
  auto connected =
      FrontEnd::connect(loop, std::move(descriptors), {.memfd = ram, .bytes = ram_bytes, .memory = memory}, limits);
  back_end.finish_greeting();
  if (connected)
    front_end = std::move(*connected);
  else
    error = ipc::describe(connected.error());
  return connected.has_value();
}

VirtioFixture::VirtioFixture(std::function<void(ScriptedBackEnd&)> prepare, FrontEnd::Limits limits) {
  prepare(back_end);
  if (!connect(2, limits)) return;
  device = *PciTransport::create(2, *front_end, make_event(), hypervisor,
                                 {.lost =
                                      [this](const ipc::Error& reason, bool needs_reset) {
                                        ++losses;
                                        if (needs_reset) failure = ipc::describe(reason);
                                      },
                                  .replaced = [this](auto after) { gap = after; }});
  pci.add(1, *device);
  put_config(0x04, 2, 0x0006);  // memory decode, bus master
  bar = get_config(0x10, 4) & ~0xfu;
  put_config(capability(0x11) + 2, 2, 0x8000);  // MSI-X enable
}

std::uint64_t VirtioFixture::get(std::uint64_t offset, std::size_t size) {
  std::array<std::byte, 8> bytes{};
  mmio.read(bar + offset, std::span(bytes).first(size));
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

void VirtioFixture::put(std::uint64_t offset, std::size_t size, std::uint64_t value) {
  mmio.write(bar + offset, std::as_bytes(std::span(&value, 1)).first(size));
}

std::uint32_t VirtioFixture::get_config(std::size_t offset, std::size_t size) {
  std::uint32_t value = 0;
  device->read_config(offset, std::as_writable_bytes(std::span(&value, 1)).first(size));
  return value;
}

void VirtioFixture::put_config(std::size_t offset, std::size_t size, std::uint32_t value) {
  device->write_config(offset, std::as_bytes(std::span(&value, 1)).first(size));
}

std::size_t VirtioFixture::capability(std::uint8_t id, std::uint8_t virtio_type) {
  for (std::size_t at = get_config(0x34, 1); at != 0; at = get_config(at + 1, 1))
    if (get_config(at, 1) == id && (virtio_type == 0 || get_config(at + 3, 1) == virtio_type)) return at;
  return 0;
}

void VirtioFixture::accept_features(std::uint64_t features) {
  put(kDriverFeatureSelect, 4, 0);
  put(kDriverFeature, 4, features & 0xffffffff);
  put(kDriverFeatureSelect, 4, 1);
  put(kDriverFeature, 4, features >> 32);
  set_status(kAcknowledge | kDriver | kFeaturesOk);
}

void VirtioFixture::set_up_queue(std::uint16_t queue, std::uint16_t size) {
  put(kQueueSelect, 2, queue);
  put(kQueueSize, 2, size);
  put(kQueueVector, 2, queue + 1u);
  const std::uint64_t base = 0x100000 + queue * 0x10000u;
  put(kQueueDesc, 4, base);
  put(kQueueDesc + 4, 4, 0);
  put(kQueueDriver, 4, base + 0x4000);
  put(kQueueDriver + 4, 4, 0);
  put(kQueueDevice, 4, base + 0x8000);
  put(kQueueDevice + 4, 4, 0);
  put(kQueueEnable, 2, 1);
}

void VirtioFixture::unmask(std::uint16_t vector) {
  const std::uint64_t entry = PciTransport::kMsixTable + vector * 16u;
  put(entry, 4, 0xfee00000);
  put(entry + 4, 4, 0);
  put(entry + 8, 4, 0x40u + vector);
  put(entry + 12, 4, 0);
}

void VirtioFixture::start() {
  accept_features(kVersion1);
  put(kConfigVector, 2, 0);
  for (std::uint16_t vector = 0; vector < 3; ++vector) unmask(vector);
  set_up_queue(0);
  set_up_queue(1);
  set_status(kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
  settle();
}

}  // namespace vcpu_host
