#include "monitor/cli/kvm_probe.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

#include <array>
#include <chrono>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "ipc/mapping.h"
#include "sandbox/linux_kvm.h"

extern "C" const std::byte kvm_probe_payload[];
extern "C" const std::byte kvm_probe_payload_end[];

namespace cli {

using ipc::failure;
using ipc::Result;
using ipc::UniqueFd;

namespace {

// What kvm_probe_payload.S does, by the numbers that it reports.
constexpr std::array<std::string_view, 10> kSteps{
    "segments and descriptor tables (lgdt, lretq, lidt, ltr)",
    "int3",
    "exceptions (ud2, a page fault)",
    "cpuid",
    "rdmsr, wrmsr, swapgs",
    "cmpxchg16b, rep movs",
    "xsetbv, xsave, xrstor",
    "changes of page tables (CR0, CR3, CR4, invlpg)",
    "system calls (iretq, syscall, sysretq)",
    "an interrupt out of hlt",
};
constexpr std::uint16_t kPort = 0xf4;
constexpr std::uint8_t kWrongResult = 0x80;
constexpr std::chrono::seconds kLimit{10};

constexpr std::size_t kRamBytes = 2 << 20;
constexpr std::uint64_t kPageTables = 0x1000;
constexpr std::uint64_t kPayload = 0x10000;
constexpr std::uint64_t kStack = 0x1f000;
constexpr std::uint64_t kIdentityMap = 0xfeffc000;
constexpr std::uint64_t kTss = 0xfeffd000;
constexpr std::uint32_t kMaxCpuidEntries = 256;

Result<int> call(const UniqueFd& fd, unsigned long request, unsigned long argument, const char* name) {
  const int result = ::ioctl(fd.get(), request, argument);
  if (result < 0) return ipc::system_failure(name);
  return result;
}
template <class T>
Result<int> call(const UniqueFd& fd, unsigned long request, T* argument, const char* name) {
  return call(fd, request, reinterpret_cast<unsigned long>(argument), name);
}

// Ends KVM_RUN ten times a second, so that the time limit is seen.
class Alarm {
 public:
  Alarm() {
    struct sigaction action{};
    action.sa_handler = [](int) {};  // no SA_RESTART
    ::sigaction(SIGALRM, &action, &before_);
    const itimerval often{.it_interval = {0, 100'000}, .it_value = {0, 100'000}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~Alarm() {
    const itimerval off{};
    ::setitimer(ITIMER_REAL, &off, nullptr);
    ::sigaction(SIGALRM, &before_, nullptr);
  }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

 private:
  struct sigaction before_{};
};

struct Vm {
  UniqueFd ram_file;
  ipc::Mapping ram;
  UniqueFd fd;
};

// The first 4 GiB, each address itself, for every privilege level.
void write_page_tables(std::span<std::byte> ram) {
  constexpr std::uint64_t kPresentWritableUser = 7;
  constexpr std::uint64_t kLarge = 1 << 7;
  const auto put = [&](std::uint64_t address, std::uint64_t value) {
    std::memcpy(ram.data() + address, &value, sizeof value);
  };
  const std::uint64_t pointers = kPageTables + 0x1000;
  const std::uint64_t directories = pointers + 0x1000;
  put(kPageTables, pointers | kPresentWritableUser);
  for (std::uint64_t i = 0; i < 4; ++i) put(pointers + 8 * i, (directories + 0x1000 * i) | kPresentWritableUser);
  for (std::uint64_t i = 0; i < 4 * 512; ++i) put(directories + 8 * i, i << 21 | kLarge | kPresentWritableUser);
}

Result<Vm> make_vm(const UniqueFd& kvm) {
  Vm vm;
  vm.ram_file = UniqueFd(::memfd_create("probe", MFD_CLOEXEC));
  if (!vm.ram_file || ::ftruncate(vm.ram_file.get(), kRamBytes) != 0) return ipc::system_failure("make RAM");
  vm.ram = TRY(ipc::Mapping::of(vm.ram_file, 0, kRamBytes, ipc::Access::ReadWrite));
  write_page_tables(vm.ram.bytes());
  std::memcpy(vm.ram.bytes().data() + kPayload, kvm_probe_payload,
              static_cast<std::size_t>(kvm_probe_payload_end - kvm_probe_payload));

  vm.fd = UniqueFd(TRY(call(kvm, KVM_CREATE_VM, 0ul, "KVM_CREATE_VM")));
  std::uint64_t identity_map = kIdentityMap;
  TRY(call(vm.fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map, "KVM_SET_IDENTITY_MAP_ADDR"));
  TRY(call(vm.fd, KVM_SET_TSS_ADDR, kTss, "KVM_SET_TSS_ADDR"));
  TRY(call(vm.fd, KVM_CREATE_IRQCHIP, 0ul, "KVM_CREATE_IRQCHIP"));
  kvm_userspace_memory_region region{.slot = 0,
                                     .flags = 0,
                                     .guest_phys_addr = 0,
                                     .memory_size = kRamBytes,
                                     .userspace_addr = reinterpret_cast<std::uintptr_t>(vm.ram.bytes().data())};
  TRY(call(vm.fd, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION"));
  return vm;
}

kvm_segment segment(std::uint16_t selector, std::uint8_t type, bool code) {
  kvm_segment result{};
  result.limit = 0xffffffff;
  result.selector = selector;
  result.type = type;
  result.present = 1;
  result.s = 1;
  result.l = code;
  result.db = !code;
  result.g = 1;
  return result;
}

Result<> set_registers(const UniqueFd& kvm, const UniqueFd& vcpu) {
  std::vector<std::uint64_t> words((sizeof(kvm_cpuid2) + kMaxCpuidEntries * sizeof(kvm_cpuid_entry2)) / 8);
  // SAFETY: the words hold a table of that many entries and are as aligned as it needs.
  auto* cpuid = reinterpret_cast<kvm_cpuid2*>(words.data());
  cpuid->nent = kMaxCpuidEntries;
  TRY(call(kvm, KVM_GET_SUPPORTED_CPUID, cpuid, "KVM_GET_SUPPORTED_CPUID"));
  TRY(call(vcpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2"));

  kvm_sregs system{};
  TRY(call(vcpu, KVM_GET_SREGS, &system, "KVM_GET_SREGS"));
  system.cs = segment(0x08, 11, true);
  system.ds = system.es = system.fs = system.gs = system.ss = segment(0x10, 3, false);
  system.cr0 = 0x80000033;  // paging, protection, numeric errors, an FPU
  system.cr3 = kPageTables;
  system.cr4 = 0x20;    // PAE
  system.efer = 0x500;  // long mode
  TRY(call(vcpu, KVM_SET_SREGS, &system, "KVM_SET_SREGS"));
  kvm_regs registers{};
  registers.rip = kPayload;
  registers.rsp = kStack;
  registers.rflags = 2;
  TRY(call(vcpu, KVM_SET_REGS, &registers, "KVM_SET_REGS"));
  return {};
}

// The step that `done` steps have led to did not end well.
std::unexpected<ipc::Error> stopped(std::size_t done, const std::string& how) {
  return failure(0, fmt::format("a kernel's {}: {}", kSteps[std::min(done, kSteps.size() - 1)], how));
}

// What the exit says of the payload: a number that it reported, or why it stopped.
Result<std::optional<std::uint8_t>> reported(const ipc::Mapping& run_page, std::size_t done) {
  // SAFETY: KVM's page begins with this structure; its size was checked.
  const auto& run = *reinterpret_cast<const kvm_run*>(run_page.bytes().data());
  switch (run.exit_reason) {
    case KVM_EXIT_IO:
      if (run.io.port != kPort || run.io.data_offset >= run_page.bytes().size())
        return stopped(done, "an access to a port that the payload does not make");
      return std::to_integer<std::uint8_t>(run_page.bytes()[run.io.data_offset]);
    case KVM_EXIT_INTR:
      return std::optional<std::uint8_t>();
    case KVM_EXIT_SHUTDOWN:
      return stopped(done, "triple fault");
    case KVM_EXIT_INTERNAL_ERROR:
      return stopped(done, "KVM cannot emulate it");
    default:
      return stopped(done, fmt::format("KVM stopped it (exit reason {})", run.exit_reason));
  }
}

Result<> run_payload(const UniqueFd& vcpu, const ipc::Mapping& run_page) {
  const Alarm alarm;
  const auto end = std::chrono::steady_clock::now() + kLimit;
  std::size_t done = 0;
  while (done < kSteps.size()) {
    if (std::chrono::steady_clock::now() > end) return stopped(done, "it hangs");
    if (::ioctl(vcpu.get(), KVM_RUN, 0) != 0) {
      if (errno == EINTR) continue;
      return ipc::system_failure(fmt::format("a kernel's {}: KVM_RUN", kSteps[done]));
    }
    const std::optional<std::uint8_t> number = TRY(reported(run_page, done));
    if (!number) continue;
    if ((*number & kWrongResult) != 0) return stopped(done, "it has a wrong result");
    if (*number != ++done) return stopped(done - 1, "it goes astray");
  }
  return {};
}

}  // namespace

Result<> probe_kernel_mode(const UniqueFd& kvm) {
  const Vm vm = TRY(make_vm(kvm));
  const UniqueFd vcpu(TRY(call(vm.fd, KVM_CREATE_VCPU, 0ul, "KVM_CREATE_VCPU")));
  const auto run_bytes =
      static_cast<std::size_t>(TRY(call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0ul, "KVM_GET_VCPU_MMAP_SIZE")));
  if (run_bytes < sizeof(kvm_run)) return failure(EINVAL, "KVM_GET_VCPU_MMAP_SIZE");
  const ipc::Mapping run_page = TRY(ipc::Mapping::of(vcpu, 0, run_bytes, ipc::Access::ReadWrite));
  TRY(set_registers(kvm, vcpu));
  return run_payload(vcpu, run_page);
}

}  // namespace cli
