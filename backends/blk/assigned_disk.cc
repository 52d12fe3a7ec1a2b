#include "backends/blk/assigned_disk.h"

#include "backends/blk/disk_product.h"

namespace blk {

using ipc::Result;
using program::as;
using FailureKind = ipc::schema::Failure::Kind;

namespace {

struct Asked {
  ShownDisk disk;
  ipc::UniqueFd image;
  ipc::UniqueFd front_end;
  ipc::UniqueFd operators;
  ipc::UniqueFd unaligned;
  bool direct_only = false;
};

Result<Asked> parse(ipc::Frame frame) {
  return ipc::guarded([&]() -> Result<Asked> {
    const auto message = frame.root<ipc::schema::ToBackend>();
    if (!message.hasBlock()) return ipc::failure(EPROTO, "the monitor asked for a device that is not a disk");
    const auto block = message.getBlock();
    const std::size_t due = 2u + (block.getHasOperators() ? 1u : 0u) + (block.getUnaligned() ? 1u : 0u);
    if (frame.fds.size() != due)
      return ipc::failure(EPROTO,
                          fmt::format("{} descriptors came with the disk, {} are right", frame.fds.size(), due));
    Asked asked{.disk = {.name = {},  // a child is told no path
                         .options = {.serial = block.getSerial().cStr(), .queues = block.getQueues()},
                         .read_only = block.getReadonly()},
                .image = std::move(frame.fds[0]),
                .front_end = std::move(frame.fds[1]),
                .operators = {},
                .unaligned = {},
                .direct_only = block.getDirectOnly()};
    if (block.getHasOperators()) asked.operators = std::move(frame.fds[2]);
    if (block.getUnaligned()) asked.unaligned = std::move(frame.fds.back());
    return asked;
  });
}

Result<Storage> adopt(Asked& asked) {
  const Writes writes = asked.disk.read_only ? Writes::Refused : Writes::Allowed;
  if (!asked.unaligned) return Storage::adopt(std::move(asked.image), writes);
  Storage storage = TRY(Storage::adopt(std::move(asked.unaligned), writes));
  auto direct = storage.go_direct(std::move(asked.image));
  if (!direct && asked.direct_only) return std::unexpected(std::move(direct).error());
  return storage;
}

}  // namespace

program::Setup<program::Assignment> accept_disk(ipc::Frame frame, ipc::ControlChannel&) {
  Asked asked = TRY(as(FailureKind::INTERNAL, parse(std::move(frame))));
  auto storage = TRY(as(FailureKind::CONFIGURATION, adopt(asked)));
  return program::Assignment{.product = make_disk(std::move(asked.disk), std::move(storage)),
                             .front_end = std::move(asked.front_end),
                             .operators = std::move(asked.operators)};
}

}  // namespace blk
