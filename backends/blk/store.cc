#include "backends/blk/store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "backends/serve/uring_engine.h"

namespace blk {
namespace {

constexpr int kPunch = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE;
constexpr int kZero = FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE;

// Of the engine's places for a device's own files.
constexpr std::uint16_t kImageFile = 0;
constexpr std::uint16_t kUnalignedFile = 1;
static_assert(kUnalignedFile < kStoreFiles);

bool aligned(std::span<const iovec> parts, std::uint64_t offset, const Storage::Alignment& alignment) {
  std::uint64_t memory = 0;
  std::uint64_t length = 0;
  for (const iovec& part : parts) {
    memory |= reinterpret_cast<std::uintptr_t>(part.iov_base) | part.iov_len;
    length += part.iov_len;
  }
  return (memory & (alignment.memory - 1)) == 0 && ((offset | length) & (alignment.offset - 1)) == 0;
}

// Can an operation take Storage::file(), as most do? Otherwise it takes buffered_file().
bool usual(const Storage& storage, std::span<const iovec> parts, std::uint64_t offset) {
  return !storage.direct() || aligned(parts, offset, storage.alignment());
}

// Guest memory that an io_uring keeps, and where each piece of it is.
class KeptMemory {
 public:
  explicit KeptMemory(serve::UringEngine& engine) : engine_(engine), pieces_(kStoreBuffers) {}

  // What was kept and still is guest memory stays where it is: operations on it may be prepared. No other memory can
  // be mapped at its address meanwhile, as this is told of each change. An error: as much as may be is kept.
  ipc::Result<> keep(std::span<const iovec> places) {
    std::vector<iovec> wanted;
    for (const iovec& place : places)
      for (std::size_t from = 0; from < place.iov_len && wanted.size() < kStoreBuffers; from += kPiece)
        wanted.push_back({static_cast<std::byte*>(place.iov_base) + from, std::min(kPiece, place.iov_len - from)});
    const auto same = [](const iovec& a) {
      return [&a](const iovec& b) { return a.iov_base == b.iov_base && a.iov_len == b.iov_len; };
    };
    for (unsigned place = 0; place < pieces_.size(); ++place)
      if (pieces_[place].iov_len > 0 && std::ranges::none_of(wanted, same(pieces_[place]))) {
        engine_.clear_buffer(place);
        pieces_[place] = {};
      }
    for (const iovec& piece : wanted) {
      if (std::ranges::any_of(pieces_, same(piece))) continue;
      const auto place = std::ranges::find(pieces_, std::size_t{0}, &iovec::iov_len);  // there are enough of them
      TRY(engine_.set_buffer(static_cast<unsigned>(place - pieces_.begin()), piece));
      *place = piece;
      end_ = std::max(end_, static_cast<std::size_t>(place - pieces_.begin()) + 1);
    }
    return {};
  }

  // The place of the piece in which `buffer` lies whole.
  std::optional<std::uint16_t> find(const iovec& buffer) const {
    const auto address = reinterpret_cast<std::uintptr_t>(buffer.iov_base);
    for (std::size_t place = 0; place < end_; ++place) {
      const std::uintptr_t offset = address - reinterpret_cast<std::uintptr_t>(pieces_[place].iov_base);
      if (offset < pieces_[place].iov_len && buffer.iov_len <= pieces_[place].iov_len - offset)
        return static_cast<std::uint16_t>(place);
    }
    return std::nullopt;
  }

 private:
  static constexpr std::size_t kPiece = 1 << 30;  // what io_uring takes as one
  serve::UringEngine& engine_;
  std::vector<iovec> pieces_;  // by place; of no length where there is none
  std::size_t end_ = 0;        // of the places that were ever needed
};

class UringStore final : public Store {
 public:
  UringStore(const Storage& storage, serve::UringEngine& engine, Memory memory)
      : storage_(storage),
        engine_(engine),
        image_(engine.own_slot(kImageFile)),
        unaligned_(engine.own_slot(kUnalignedFile)) {
    if (memory == Memory::Pinned) kept_.emplace(engine);
  }

  bool pins_memory() const override { return kept_.has_value(); }
  ipc::Result<> use_memory(std::span<const iovec> places) override {
    return kept_ ? kept_->keep(places) : ipc::Result<>();
  }

  Outcome read(std::span<const iovec> parts, std::uint64_t offset, serve::Token token) override {
    io_uring_sqe* entry = engine_.next();
    const int file = file_for(parts, offset);
    const auto kept = kept_place(parts);
    if (kept)
      io_uring_prep_read_fixed(entry, file, parts[0].iov_base, static_cast<unsigned>(parts[0].iov_len), offset, *kept);
    else if (parts.size() == 1)
      io_uring_prep_read(entry, file, parts[0].iov_base, static_cast<unsigned>(parts[0].iov_len), offset);
    else
      io_uring_prep_readv(entry, file, parts.data(), static_cast<unsigned>(parts.size()), offset);
    engine_.queue(entry, token);
    return std::nullopt;
  }

  Outcome write(std::span<const iovec> parts, std::uint64_t offset, bool durable, serve::Token token) override {
    io_uring_sqe* entry = engine_.next();
    const int file = file_for(parts, offset);
    const auto kept = kept_place(parts);
    if (kept)
      io_uring_prep_write_fixed(entry, file, parts[0].iov_base, static_cast<unsigned>(parts[0].iov_len), offset, *kept);
    else if (parts.size() == 1)
      io_uring_prep_write(entry, file, parts[0].iov_base, static_cast<unsigned>(parts[0].iov_len), offset);
    else
      io_uring_prep_writev(entry, file, parts.data(), static_cast<unsigned>(parts.size()), offset);
    if (durable) entry->rw_flags = RWF_DSYNC;
    engine_.queue(entry, token);
    return std::nullopt;
  }

  Outcome flush(serve::Token token) override {
    io_uring_sqe* entry = engine_.next();
    io_uring_prep_fsync(entry, static_cast<int>(image_), IORING_FSYNC_DATASYNC);
    engine_.queue(entry, token);
    return std::nullopt;
  }

  Outcome punch(std::uint64_t offset, std::uint64_t length, serve::Token token) override {
    return allocate(kPunch, offset, length, token);
  }
  Outcome zero(std::uint64_t offset, std::uint64_t length, serve::Token token) override {
    return allocate(kZero, offset, length, token);
  }

 private:
  int file_for(std::span<const iovec> parts, std::uint64_t offset) const {
    return static_cast<int>(usual(storage_, parts, offset) ? image_ : unaligned_);
  }
  std::optional<std::uint16_t> kept_place(std::span<const iovec> parts) const {
    return kept_ && parts.size() == 1 ? kept_->find(parts[0]) : std::nullopt;
  }
  Outcome allocate(int mode, std::uint64_t offset, std::uint64_t length, serve::Token token) {
    io_uring_sqe* entry = engine_.next();
    io_uring_prep_fallocate(entry, static_cast<int>(image_), mode, static_cast<off_t>(offset),
                            static_cast<off_t>(length));
    engine_.queue(entry, token);
    return std::nullopt;
  }

  const Storage& storage_;
  serve::UringEngine& engine_;
  std::optional<KeptMemory> kept_;
  const unsigned image_;
  const unsigned unaligned_;
};

// By calls that return when it is done.
class PlainStore final : public Store {
 public:
  explicit PlainStore(const Storage& storage) : storage_(storage) {}
  bool makes_calls() const override { return true; }

  Outcome read(std::span<const iovec> parts, std::uint64_t offset, serve::Token) override {
    return outcome(
        ::preadv(file_for(parts, offset), parts.data(), static_cast<int>(parts.size()), static_cast<off_t>(offset)));
  }
  Outcome write(std::span<const iovec> parts, std::uint64_t offset, bool durable, serve::Token) override {
    return outcome(::pwritev2(file_for(parts, offset), parts.data(), static_cast<int>(parts.size()),
                              static_cast<off_t>(offset), durable ? RWF_DSYNC : 0));
  }
  Outcome flush(serve::Token) override { return outcome(::fdatasync(storage_.file().get())); }
  Outcome punch(std::uint64_t offset, std::uint64_t length, serve::Token) override {
    return allocate(kPunch, offset, length);
  }
  Outcome zero(std::uint64_t offset, std::uint64_t length, serve::Token) override {
    return allocate(kZero, offset, length);
  }

 private:
  static Outcome outcome(ssize_t result) { return result < 0 ? -errno : static_cast<int>(result); }
  int file_for(std::span<const iovec> parts, std::uint64_t offset) const {
    return (usual(storage_, parts, offset) ? storage_.file() : storage_.buffered_file()).get();
  }
  Outcome allocate(int mode, std::uint64_t offset, std::uint64_t length) const {
    return outcome(::fallocate(storage_.file().get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)));
  }

  const Storage& storage_;
};

class NullStore final : public Store {
 public:
  Outcome read(std::span<const iovec> parts, std::uint64_t, serve::Token) override { return bytes(parts); }
  Outcome write(std::span<const iovec> parts, std::uint64_t, bool, serve::Token) override { return bytes(parts); }
  Outcome flush(serve::Token) override { return 0; }
  Outcome punch(std::uint64_t, std::uint64_t, serve::Token) override { return 0; }
  Outcome zero(std::uint64_t, std::uint64_t, serve::Token) override { return 0; }

 private:
  static int bytes(std::span<const iovec> parts) {
    std::size_t sum = 0;
    for (const iovec& part : parts) sum += part.iov_len;
    return static_cast<int>(sum);  // a request is below 2 GiB
  }
};

}  // namespace

ipc::Result<std::unique_ptr<Store>> make_store(const Storage& storage, serve::Engine& engine, Memory memory) {
  if (storage.kind() == Storage::Kind::Null) return std::make_unique<NullStore>();
  auto* uring = dynamic_cast<serve::UringEngine*>(&engine);
  if (uring == nullptr || storage.kind() == Storage::Kind::InMemory) return std::make_unique<PlainStore>(storage);
  TRY(uring->set_file(uring->own_slot(kImageFile), storage.file()));
  if (storage.direct()) TRY(uring->set_file(uring->own_slot(kUnalignedFile), storage.buffered_file()));
  return std::make_unique<UringStore>(storage, *uring, memory);
}

}  // namespace blk
