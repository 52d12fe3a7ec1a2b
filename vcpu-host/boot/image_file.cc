#include "vcpu-host/boot/image_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>

namespace vcpu_host {

using ipc::Result;

Result<ImageFile> ImageFile::open(const ipc::UniqueFd& fd, std::string_view name) {
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) return ipc::system_failure(fmt::format("{}: fstat", name));
  const ImageFile file(fd, name, static_cast<std::uint64_t>(status.st_size));
  if (!S_ISREG(status.st_mode)) return file.error(EINVAL, "not a regular file");
  if (status.st_size <= 0) return file.error(ENOEXEC, "the file is empty");
  return file;
}

Result<> ImageFile::read(std::uint64_t offset, std::span<std::byte> out) const {
  return read(offset, iovec{out.data(), out.size()});
}

namespace {

// Guest RAM is empty yet: one call for all of its pages is quicker than a page fault for each, and when
// it fails, those do it.
void populate(iovec buffer) {
  constexpr std::size_t kPage = 4096;
  const std::size_t into_page = reinterpret_cast<std::uintptr_t>(buffer.iov_base) % kPage;
  // SAFETY: whole pages that the buffer touches, so they are mapped; their content stays.
  ::madvise(static_cast<std::byte*>(buffer.iov_base) - into_page, buffer.iov_len + into_page, MADV_POPULATE_WRITE);
}

}  // namespace

Result<> ImageFile::read(std::uint64_t offset, const ipc::GuestBuffer& out) const {
  populate(out.as_iovec());
  return read(offset, out.as_iovec());
}

Result<> ImageFile::read(std::uint64_t offset, iovec out) const {
  while (out.iov_len > 0) {
    const ssize_t count = ::preadv(fd_->get(), &out, 1, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ipc::system_failure(name_ + ": read");
    if (count == 0) return error(ENOEXEC, fmt::format("truncated: it ends at byte {} while it is read", offset));
    const auto done = static_cast<std::size_t>(count);
    // SAFETY: the kernel wrote `done` <= iov_len bytes, so this stays within, or one past, the buffer.
    out = {static_cast<std::byte*>(out.iov_base) + done, out.iov_len - done};
    offset += done;
  }
  return {};
}

std::unexpected<ipc::Error> ImageFile::error(int code, std::string_view what) const {
  return ipc::failure(code, fmt::format("{}: {}", name_, what));
}

std::string size_text(std::uint64_t bytes) {
  constexpr std::uint64_t kKib = 1024;
  constexpr std::uint64_t kMib = 1024 * kKib;
  if (bytes >= kMib) return fmt::format("{} MiB", bytes / kMib + (bytes % kMib != 0 ? 1 : 0));
  if (bytes >= kKib) return fmt::format("{} KiB", bytes / kKib + (bytes % kKib != 0 ? 1 : 0));
  return fmt::format("{} bytes", bytes);
}

}  // namespace vcpu_host
