// The disk that a standalone bulkhead-blk serves.
#pragma once

#include "backends/blk/command_line.h"
#include "backends/blk/storage.h"
#include "backends/program/control_commands.h"
#include "backends/program/product.h"

namespace blk {

// A disk as it is shown to operators.
struct ShownDisk {
  std::string name;  // of its image; empty: it is not known here
  Options options;
  bool read_only = false;
  bool may_grow = false;  // its size is this process's to follow
};

std::unique_ptr<program::Product> make_disk(ShownDisk disk, Storage storage);

// Opens and locks the image. Errors name it.
ipc::Result<std::unique_ptr<program::Product>> open_disk(const CommandLine& command);

// How bulkhead-blk shows itself to operators, and what they may ask of it.
program::Commands disk_commands();

}  // namespace blk
