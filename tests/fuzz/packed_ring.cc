// A packed ring by a hostile driver, at any position.
#include "tests/fuzz/ring.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::uint32_t position = ring_fuzz::kFreshPacked;
  if (size >= sizeof position) {
    std::memcpy(&position, data, sizeof position);
    data += sizeof position;
    size -= sizeof position;
  }
  ring_fuzz::run_ring(support::Layout::Packed, position, {data, size});
  return 0;
}
