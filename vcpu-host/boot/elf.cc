#include "vcpu-host/boot/elf.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "vcpu-host/boot/initrd.h"
#include "vcpu-host/boot/memory_map.h"
#include "vcpu-host/boot/pvh.h"
#include "vcpu-host/layout.h"

namespace vcpu_host {
namespace {

using ipc::Result;

constexpr std::size_t kMaxSegments = 64;            // Linux has 5
constexpr std::uint64_t kMaxNoteBytes = 64 * 1024;  // of one PT_NOTE; Linux's has about 500
constexpr std::uint32_t kXenElfnotePhys32Entry = 18;
constexpr std::string_view kXenOwner("Xen\0", 4);

// One program header of either class, with the file's bytes found inside the file.
struct ProgramSegment {
  std::uint32_t type;
  std::uint64_t file_offset;
  std::uint64_t file_bytes;
  std::uint64_t address;  // physical
  std::uint64_t memory_bytes;
  std::uint64_t alignment;
};

template <class T>
std::optional<T> load_from(std::span<const std::byte> bytes, std::size_t offset) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return std::nullopt;
  T object;
  std::memcpy(&object, bytes.data() + offset, sizeof object);
  return object;
}

template <class Header, class ProgramHeader>
Result<std::vector<ProgramSegment>> read_segments(const ImageFile& kernel, std::span<const std::byte> head) {
  const auto header = load_from<Header>(head, 0);
  if (!header) return kernel.error(ENOEXEC, fmt::format("truncated: an ELF header of {} bytes", head.size()));
  if (header->e_type != ET_EXEC)
    return kernel.error(
        ENOEXEC, fmt::format("ELF file of type {}; a linked kernel (type 2, vmlinux) is needed", header->e_type));
  if (header->e_phentsize != sizeof(ProgramHeader) || header->e_phnum == 0 || header->e_phnum > kMaxSegments)
    return kernel.error(
        ENOEXEC, fmt::format("damaged ELF: {} program headers of {} bytes; 1 to {} of {} are possible", header->e_phnum,
                             header->e_phentsize, kMaxSegments, sizeof(ProgramHeader)));
  std::vector<ProgramHeader> table(header->e_phnum);
  const auto bytes = std::as_writable_bytes(std::span(table));
  if (header->e_phoff > kernel.size() || bytes.size() > kernel.size() - header->e_phoff)
    return kernel.error(ENOEXEC,
                        fmt::format("truncated: its {} bytes of program headers are at {:#x}, the file has {} bytes",
                                    bytes.size(), header->e_phoff, kernel.size()));
  TRY(kernel.read(header->e_phoff, bytes));

  std::vector<ProgramSegment> segments;
  for (const ProgramHeader& entry : table) {
    if (entry.p_type != PT_LOAD && entry.p_type != PT_NOTE) continue;
    if (entry.p_offset > kernel.size() || entry.p_filesz > kernel.size() - entry.p_offset)
      return kernel.error(ENOEXEC, fmt::format("truncated: a segment has {} bytes at {:#x}, the file has {} bytes",
                                               entry.p_filesz, entry.p_offset, kernel.size()));
    segments.push_back({entry.p_type, entry.p_offset, entry.p_filesz, entry.p_paddr, entry.p_memsz, entry.p_align});
  }
  return segments;
}

// The segments to load in the order of their addresses: inside low RAM, above the boot data, without
// overlap (so that what is read in all is not more than the RAM), at least one.
Result<std::vector<ProgramSegment>> loadable(const ImageFile& kernel, const std::vector<ProgramSegment>& all,
                                             std::uint64_t ram_bytes) {
  const std::uint64_t low_end = layout::low_ram(ram_bytes).bytes;
  std::vector<ProgramSegment> segments;
  for (const ProgramSegment& segment : all) {
    if (segment.type != PT_LOAD || segment.memory_bytes == 0) continue;
    if (segment.file_bytes > segment.memory_bytes)
      return kernel.error(ENOEXEC, fmt::format("damaged ELF: a segment of {} bytes has {} in the file",
                                               segment.memory_bytes, segment.file_bytes));
    if (segment.address < layout::kKernelMinimum)
      return kernel.error(
          ENOEXEC, fmt::format("a segment wants to be at {:#x}, below 1 MiB, where the boot data is", segment.address));
    if (segment.address > low_end || segment.memory_bytes > low_end - segment.address)
      return kernel.error(ENOSPC, fmt::format("needs {} of RAM from address {:#x} on; the machine has {}",
                                              size_text(segment.memory_bytes), segment.address, size_text(ram_bytes)));
    segments.push_back(segment);
  }
  if (segments.empty()) return kernel.error(ENOEXEC, "damaged ELF: it has nothing to load");
  std::ranges::sort(segments, {}, &ProgramSegment::address);
  const auto overlap = std::ranges::adjacent_find(segments, [](const ProgramSegment& a, const ProgramSegment& b) {
    return b.address - a.address < a.memory_bytes;
  });
  if (overlap != segments.end())
    return kernel.error(ENOEXEC,
                        fmt::format("damaged ELF: two segments overlap at {:#x}", std::next(overlap)->address));
  return segments;
}

// ELF notes: three words (length of the owner's name, of the descriptor, type), name, descriptor, each padded.
std::optional<std::uint64_t> find_entry_note(std::span<const std::byte> notes, std::size_t alignment) {
  const auto take = [&](std::size_t length) -> std::optional<std::span<const std::byte>> {
    if (length > notes.size()) return std::nullopt;
    const auto taken = notes.first(length);
    const std::size_t padding = (alignment - length % alignment) % alignment;
    notes = notes.subspan(length + std::min(padding, notes.size() - length));
    return taken;
  };
  while (const auto note = load_from<Elf64_Nhdr>(notes, 0)) {
    notes = notes.subspan(sizeof *note);
    const auto name = take(note->n_namesz);
    if (!name) return std::nullopt;
    const auto value = take(note->n_descsz);
    if (!value) return std::nullopt;
    const bool is_xen = std::ranges::equal(*name, std::as_bytes(std::span(kXenOwner)));
    if (!is_xen || note->n_type != kXenElfnotePhys32Entry) continue;
    if (value->size() == sizeof(std::uint64_t)) return load_from<std::uint64_t>(*value, 0);
    return load_from<std::uint32_t>(*value, 0);
  }
  return std::nullopt;
}

Result<std::uint64_t> read_entry(const ImageFile& kernel, const std::vector<ProgramSegment>& segments) {
  for (const ProgramSegment& segment : segments) {
    if (segment.type != PT_NOTE) continue;
    if (segment.file_bytes > kMaxNoteBytes)
      return kernel.error(ENOEXEC, fmt::format("damaged ELF: {} bytes of notes; at most {} are possible",
                                               segment.file_bytes, kMaxNoteBytes));
    std::vector<std::byte> notes(segment.file_bytes);
    TRY(kernel.read(segment.file_offset, std::span(notes)));
    if (const auto entry = find_entry_note(notes, segment.alignment == 8 ? 8 : 4)) return *entry;
  }
  return kernel.error(ENOEXEC,
                      "ELF without the PVH note (XEN_ELFNOTE_PHYS32_ENTRY); a Linux with CONFIG_PVH=y or its bzImage "
                      "is needed");
}

}  // namespace

bool is_elf(std::span<const std::byte> head) {
  return head.size() >= EI_NIDENT && std::memcmp(head.data(), ELFMAG, SELFMAG) == 0;
}

Result<EntryPoint> load_elf(const ipc::GuestMemory& memory, const ImageFile& kernel, std::span<const std::byte> head,
                            const BootRequest& request) {
  const auto byte_at = [&](std::size_t index) { return std::to_integer<unsigned>(head[index]); };
  if (byte_at(EI_DATA) != ELFDATA2LSB) return kernel.error(ENOEXEC, "a big-endian ELF; one for x86 is needed");
  // e_machine has the same place in both classes.
  const auto machine = load_from<Elf64_Half>(head, offsetof(Elf64_Ehdr, e_machine)).value_or(EM_NONE);
  if (machine != EM_X86_64 && machine != EM_386)
    return kernel.error(ENOEXEC, fmt::format("an ELF for machine {}; one for x86-64 (62) is needed", machine));
  const bool wide = byte_at(EI_CLASS) == ELFCLASS64;
  const auto all =
      TRY((wide ? read_segments<Elf64_Ehdr, Elf64_Phdr> : read_segments<Elf32_Ehdr, Elf32_Phdr>)(kernel, head));
  const auto segments = TRY(loadable(kernel, all, request.ram_bytes));
  const std::uint64_t entry = TRY(read_entry(kernel, all));
  const bool entry_loaded = std::ranges::any_of(segments, [&](const ProgramSegment& segment) {
    return entry >= segment.address && entry - segment.address < segment.memory_bytes;
  });
  if (!entry_loaded)
    return kernel.error(ENOEXEC, fmt::format("damaged ELF: its PVH entry {:#x} is outside of what it loads", entry));

  for (const ProgramSegment& segment : segments) {
    const auto buffer = memory.slice({segment.address}, segment.file_bytes);
    if (!buffer) return kernel.error(EINVAL, "guest RAM is not where the machine's layout has it");
    TRY(kernel.read(segment.file_offset, *buffer));
  }
  const std::uint64_t low_end = layout::low_ram(request.ram_bytes).bytes;
  const AddressRange code = {segments.front().address, segments.back().address + segments.back().memory_bytes};
  const AddressRange initrd = TRY(load_initrd(memory, request, low_end, code));
  return prepare_pvh(memory, request.ram_bytes, entry, initrd);
}

}  // namespace vcpu_host
