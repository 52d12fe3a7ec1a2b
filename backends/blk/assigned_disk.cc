#include "backends/blk/assigned_disk.h"

#include "backends/blk/device.h"

namespace blk {

using ipc::Result;
using program::as;
using FailureKind = ipc::schema::Failure::Kind;

namespace {

struct Asked {
  Writes writes;
  Options options;
  ipc::UniqueFd image;
  ipc::UniqueFd front_end;
};

Result<Asked> parse(ipc::Frame frame) {
  return ipc::guarded([&]() -> Result<Asked> {
    const auto message = frame.root<ipc::schema::ToBackend>();
    if (!message.hasBlock()) return ipc::failure(EPROTO, "the monitor asked for a device that is not a disk");
    if (frame.fds.size() != 2)
      return ipc::failure(EPROTO, fmt::format("{} descriptors came with the disk, 2 are right", frame.fds.size()));
    const auto block = message.getBlock();
    return Asked{
        .writes = block.getReadonly() ? Writes::Refused : Writes::Allowed,
        .options = {.serial = block.getSerial().cStr(), .queues = block.getQueues()},
        .image = std::move(frame.fds[0]),
        .front_end = std::move(frame.fds[1]),
    };
  });
}

}  // namespace

program::Setup<program::Assignment> accept_disk(ipc::Frame frame, ipc::ControlChannel&) {
  Asked asked = TRY(as(FailureKind::INTERNAL, parse(std::move(frame))));
  auto storage = TRY(as(FailureKind::CONFIGURATION, Storage::adopt(std::move(asked.image), asked.writes)));
  // An error of the configuration is EINVAL; all else is the host's.
  auto made = Device::create(std::move(storage), asked.options);
  const FailureKind kind = !made && made.error().code == EINVAL ? FailureKind::CONFIGURATION : FailureKind::HOST;
  return program::Assignment{.device = TRY(as(kind, std::move(made))), .front_end = std::move(asked.front_end)};
}

}  // namespace blk
