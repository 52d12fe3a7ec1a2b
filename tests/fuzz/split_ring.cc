// A split ring by a hostile driver.
#include "tests/fuzz/ring.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ring_fuzz::run_ring(support::Layout::Split, 0, {data, size});
  return 0;
}
