// Commands of the control virtqueue as a hostile driver would send them, and a migration's state.
#include <algorithm>
#include <cstdlib>

#include "backends/net/control.h"

namespace {

constexpr net::EthernetAddress kOwn{{0x52, 0x54, 0, 1, 2, 3}};

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

// Commands, each behind a byte that says how long it is; 255: a state to be loaded, of the 16 bytes that follow.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr std::uint16_t kPairs = 4;
  net::Control control(kOwn, kPairs);
  control.reset(data[0] % 2 == 0 ? ~std::uint64_t{0} : std::uint64_t{data[0]} << 16);
  std::span<const std::byte> rest = std::as_bytes(std::span(data + 1, size - 1));
  while (!rest.empty()) {
    const auto length = static_cast<std::uint8_t>(rest.front());
    rest = rest.subspan(1);
    const auto part = rest.first(std::min<std::size_t>(rest.size(), length == 255 ? 16 : length));
    rest = rest.subspan(part.size());
    const auto before = control.save();
    if (length == 255) {
      const bool loaded = control.load(part).has_value();
      require(loaded || control.save() == before);
    } else {
      const net::ReceiveFilter filter = control.filter();
      const bool refused = control.execute(part) != VIRTIO_NET_OK;
      require(!refused || (control.save() == before && control.filter() == filter));
    }
    require(control.pairs() >= 1 && control.pairs() <= kPairs && !control.mac().is_multicast());
    const net::Frame frame{.destination = kOwn, .source = kOwn, .tags = 1, .vlan = 4095};
    static_cast<void>(control.filter().passes(frame, control.mac()));
  }
  return 0;
}
