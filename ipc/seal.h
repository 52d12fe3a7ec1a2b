// What a process has taken from itself for good, as it tells (schema/control.capnp, Seal). Nobody builds on it:
// operators compare it.
#pragma once

#include <cstdint>

#include "ipc/schema/control.capnp.h"

namespace ipc {

struct Seal {
  std::uint32_t layers = 0;  // bits: sandbox::layer_bits()
  std::uint16_t landlock_abi = 0;

  static Seal told(schema::Seal::Reader said) { return {said.getLayers(), said.getLandlockAbi()}; }
  void tell(schema::Seal::Builder to) const {
    to.setLayers(layers);
    to.setLandlockAbi(landlock_abi);
  }
};

}  // namespace ipc
