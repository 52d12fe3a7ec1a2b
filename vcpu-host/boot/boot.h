// From a kernel image that nobody trusts to a guest's RAM that is ready to run.
#pragma once

#include <cstdint>
#include <string_view>

#include "ipc/error.h"
#include "ipc/guest_memory.h"
#include "ipc/unique_fd.h"

namespace vcpu_host {

// A segment register with its hidden part, as the descriptor in the boot GDT says.
struct Segment {
  std::uint16_t selector;
  std::uint32_t base;
  std::uint32_t limit;  // the last byte's offset, already expanded by `granularity`
  std::uint8_t type;    // 4 bits: 0xb code, 0x3 data, 0xb busy TSS (with code_or_data false)
  bool present;
  bool code_or_data;  // the S bit; false: a system segment
  bool wide;          // the D/B bit: 32-bit operands
  bool long_mode;     // the L bit: 64-bit code
  bool granularity;   // the G bit: the descriptor's limit counts pages
};

// The state in which the boot CPU (APIC id 0) starts; the others wait for its INIT and SIPI. What is
// not named here is 0 (general registers, interrupt table), except RFLAGS, which is 2.
struct EntryPoint {
  enum class Mode : std::uint8_t {
    Long64,       // Linux's 64-bit boot protocol: paging by our tables, rsi = boot_params
    Protected32,  // Linux's 32-bit boot protocol (rsi), or PVH (rbx = hvm_start_info): no paging
  };
  Mode mode;
  std::uint64_t rip;  // below 4 GiB, inside the loaded kernel
  std::uint64_t rsp;
  std::uint64_t rbx;
  std::uint64_t rsi;
  std::uint64_t cr0;
  std::uint64_t cr3;  // 0 in Protected32
  std::uint64_t cr4;
  std::uint64_t efer;
  std::uint64_t gdt_base;
  std::uint16_t gdt_limit;
  Segment code;  // CS
  Segment data;  // DS, ES, FS, GS and SS
  Segment task;  // TR; LDTR is not present
};

struct BootRequest {
  std::uint64_t ram_bytes;                // what `memory` holds, as layout::low_ram and high_ram split it
  std::uint32_t cpus;                     // APIC ids 0 to cpus - 1; 1 to kMaxCpus
  const ipc::UniqueFd& kernel;            // borrowed; read with pread only, its file offset stays
  const ipc::UniqueFd* initrd = nullptr;  // borrowed; none if null
  std::string_view cmdline;               // without a terminating zero
};

inline constexpr std::uint32_t kMaxCpus = 4096;  // what the room for ACPI tables holds
inline constexpr std::uint64_t kMinRamBytes = 16ull << 20;

// Reads the kernel (a bzImage of boot protocol 2.06 or newer, or an ELF image with the PVH note) and the
// initial RAM disk into `memory`, with everything that the guest finds beside them: command line, memory
// map, ACPI tables, GDT and page tables, at the places in vcpu-host/layout.h. `memory` is all zero before.
// The images may be hostile and may change meanwhile: nothing outside guest RAM is touched, and the
// work is bounded by the size of the RAM.
// Errors are one line that names the thing ("kernel: …", "initial RAM disk …", "command line …"):
// ENOEXEC a damaged image or one of the wrong kind; ENOSPC what does not fit into RAM; E2BIG a command
// line that is too long; EINVAL other wrong arguments; or what fstat(2) and preadv(2) say. After an
// error the contents of `memory` are unspecified.
ipc::Result<EntryPoint> load_guest(const ipc::GuestMemory& memory, const BootRequest& request);

}  // namespace vcpu_host
