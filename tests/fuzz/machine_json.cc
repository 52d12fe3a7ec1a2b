// Fuzz target: machine.json, and what the monitor makes of the machine that it describes.
#include "monitor/cli/machine_json.h"

#include <capnp/message.h>

#include <cstdint>
#include <string_view>

#include "monitor/configuration.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  capnp::MallocMessageBuilder message;
  auto machine = message.initRoot<ipc::schema::Machine>();
  if (cli::parse_machine("machine.json", text, machine)) static_cast<void>(monitor::check(machine.asReader()));
  return 0;
}
