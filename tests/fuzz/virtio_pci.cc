// Fuzz target: a guest's accesses to the virtio device's registers and configuration space, and the answers,
// requests and silences of its back end, in any order.
#include <cstdint>
#include <memory>

#include "tests/unit/vcpu-host/virtio/virtio_fixture.h"

namespace vcpu_host {
namespace {

class Input {
 public:
  Input(const std::uint8_t* bytes, std::size_t size) : bytes_(bytes, size) {}
  bool empty() const { return bytes_.empty(); }
  std::uint64_t take(std::size_t count) {
    std::uint64_t value = 0;
    for (; count > 0 && !bytes_.empty(); --count) {
      value = value << 8 | bytes_[0];
      bytes_ = bytes_.subspan(1);
    }
    return value;
  }
  ScriptedBackEnd::Payload payload() {
    ScriptedBackEnd::Payload bytes(take(1));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(take(1));
    return bytes;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

void step(VirtioFixture& virtio, Input& input) {
  using Request = ScriptedBackEnd::Request;
  const std::size_t size = std::size_t{1} << input.take(1) % 4;
  switch (input.take(1) % 14) {
    case 0:
      virtio.get(input.take(2) % PciTransport::kBarBytes, size);
      return;
    case 1:
      virtio.put(input.take(2) % PciTransport::kBarBytes, size, input.take(size));
      return;
    case 2:
      virtio.put(input.take(1) % 64, size, input.take(size));  // the common configuration structure
      return;
    case 3:
      virtio.get_config(input.take(2) % 4096, size < 8 ? size : 4);
      return;
    case 4:
      virtio.put_config(input.take(1), size < 8 ? size : 4, static_cast<std::uint32_t>(input.take(4)));
      return;
    case 5:
      virtio.start();
      return;
    case 6:
      virtio.set_status(static_cast<std::uint8_t>(input.take(1)));
      return;
    case 7:
      virtio.back_end.answers[static_cast<Request>(input.take(1) % 45)] = input.payload();
      return;
    case 8:
      virtio.back_end.answers.clear();
      return;
    case 9: {
      const auto request = static_cast<Request>(input.take(1) % 45);
      const auto flags = static_cast<std::uint32_t>(input.take(1));
      virtio.back_end.send(request, flags, input.payload());
      return;
    }
    case 10:
      virtio.back_end.change_config(input.payload(), size == 1);
      return;
    case 12:
      virtio.back_end.hang_up();
      return;
    case 13:
      virtio.back_end.begin_anew();
      virtio.front_end->reconnect(virtio.back_end.take_connection());
      return;
    default:
      virtio.settle();
  }
}

}  // namespace
}  // namespace vcpu_host

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace vcpu_host;
  VirtioFixture virtio([](ScriptedBackEnd& back_end) {
    back_end.protocol_features |= bit(ipc::vhost_user::ProtocolFeature::InflightShmfd);
    back_end.inflight = make_event();  // never mapped here: any descriptor does
  });
  if (!virtio.device) return 0;
  for (Input input(bytes, size); !input.empty();) step(virtio, input);
  virtio.settle();
  return 0;
}
