#include "backends/blk/disk_product.h"

#include <fcntl.h>

#include "backends/blk/device.h"
#include "backends/blk/stats_view.h"

namespace blk {

using ipc::Result;
using ipc::UniqueFd;
namespace schema = ipc::schema;

namespace {

class DiskProduct final : public program::Product {
 public:
  DiskProduct(ShownDisk disk, Storage storage) : disk_(std::move(disk)), storage_(std::move(storage)) {}

  Result<telemetry::Segment> make_telemetry() const override {
    return telemetry::Segment::create(kOperationNames, disk_.options.queues);
  }

  Result<std::unique_ptr<serve::Device>> make_device(limits::Limiter& limiter,
                                                     const telemetry::Segment& telemetry) override {
    if (disk_.may_grow) TRY(program::limit_file_size(storage_->sectors() * kSectorBytes));
    Options options = disk_.options;
    options.limiter = &limiter;
    options.telemetry = &telemetry;
    auto device = TRY(Device::create(*std::exchange(storage_, std::nullopt), options));
    device_ = device.get();
    return device;
  }

  std::string describe() const override {
    return fmt::format("{}, {} sectors", disk_.name, device_->storage().sectors());
  }
  void describe(schema::BackendStatus::Builder status) const override {
    auto disk = status.initDisk();
    disk.setSectors(device_->storage().sectors());
    disk.setReadOnly(disk_.read_only);
  }

  Result<bool> change(schema::ControlRequest::Reader request) override {
    if (!request.isGrow()) return ipc::failure(EOPNOTSUPP, "unknown request");
    return refresh();
  }
  Result<bool> refresh() override {
    if (!disk_.may_grow) return ipc::failure(EOPNOTSUPP, "this disk's size is fixed while its machine runs");
    const bool grown = TRY(device_->grow());
    TRY(program::limit_file_size(device_->storage().sectors() * kSectorBytes));
    return grown;
  }

 private:
  const ShownDisk disk_;
  std::optional<Storage> storage_;  // until there is a device
  Device* device_ = nullptr;        // whoever serves it owns it
};

Result<Storage> open_storage(const CommandLine& command) {
  const Writes writes = command.read_only ? Writes::Refused : Writes::Allowed;
  if (command.null_bytes) return Storage::null(*command.null_bytes, writes);
  const int mode = (command.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC;
  UniqueFd image(::open(command.image.c_str(), mode));
  if (!image) return ipc::system_failure(command.image);
  auto opened = [&]() -> Result<Storage> {
    Storage storage = TRY(Storage::adopt(std::move(image), writes));
    if (command.options.lock == Lock::Always) TRY(storage.lock(kLockPatience));
    if (command.cache == Cache::Writeback) return storage;
    UniqueFd direct(::open(command.image.c_str(), mode | O_DIRECT));
    Result<> went = direct ? storage.go_direct(std::move(direct)) : ipc::system_failure("--cache=direct");
    if (!went && command.cache == Cache::Direct) return std::unexpected(std::move(went).error());
    return storage;
  }();
  if (!opened) opened.error().context = fmt::format("{}: {}", command.image, opened.error().context);
  return opened;
}

std::string status_table(schema::BackendStatus::Reader status) {
  const auto disk = status.getDisk();
  return fmt::format("disk          {} sectors{}\n", disk.getSectors(), disk.getReadOnly() ? ", read-only" : "");
}

std::string status_json(schema::BackendStatus::Reader status) {
  const auto disk = status.getDisk();
  return fmt::format(R"("sectors": {}, "read_only": {})", disk.getSectors(), disk.getReadOnly());
}

}  // namespace

Result<std::unique_ptr<program::Product>> open_disk(const CommandLine& command) {
  if (command.options.memory == Memory::Pinned) program::let_memory_be_locked();
  Storage storage = TRY(open_storage(command));
  return make_disk({.name = command.image,
                    .options = command.options,
                    .read_only = command.read_only,
                    .may_grow = !command.null_bytes},
                   std::move(storage));
}

std::unique_ptr<program::Product> make_disk(ShownDisk disk, Storage storage) {
  return std::make_unique<DiskProduct>(std::move(disk), std::move(storage));
}

program::Commands disk_commands() {
  const program::Command grow{.name = "grow",
                              .description = "Tells a back end that its image has grown. The guest is told.",
                              .add_options = [](CLI::App&) {},
                              .fill = [](schema::ControlRequest::Builder request) -> Result<> {
                                request.setGrow();
                                return {};
                              }};
  return {.limits = kLimitKinds,
          .table = table,
          .json = json,
          .status_table = status_table,
          .status_json = status_json,
          .more = {grow}};
}

}  // namespace blk
