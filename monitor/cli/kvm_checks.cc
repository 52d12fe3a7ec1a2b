#include <fcntl.h>
#include <sys/ioctl.h>

#include <fstream>
#include <sstream>
#include <string_view>

#include "ipc/unique_fd.h"
#include "monitor/cli/doctor.h"
#include "monitor/cli/kvm_probe.h"
#include "sandbox/linux_kvm.h"

namespace cli {

using ipc::UniqueFd;

namespace {

constexpr const char* kFirst = "see to /dev/kvm first";

Check processor() {
  std::ifstream file("/proc/cpuinfo");
  bool intel = false;
  bool amd = false;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line);
    for (std::string word; words >> word;) {
      intel |= word == "vmx";
      amd |= word == "svm";
    }
    break;
  }
  const bool ok = intel || amd;
  // Not required by itself: what counts is what its KVM can do.
  return {.name = "processor",
          .ok = ok,
          .required = false,
          .found = intel ? "VT-x" : (amd ? "AMD-V" : "neither VT-x nor AMD-V"),
          .advice = ok ? "" : "switch it on in the firmware; in a virtual machine: allow nested virtualization"};
}

Check device(const UniqueFd& kvm, int error) {
  const bool ok = static_cast<bool>(kvm);
  const char* advice = "modprobe kvm-intel or kvm-amd; in a virtual machine: allow nested virtualization";
  if (error == EACCES || error == EPERM) advice = "join the group kvm (usermod -aG kvm NAME, log in again)";
  return {.name = "/dev/kvm",
          .ok = ok,
          .required = true,
          .found = ok ? "can be opened" : std::string(std::strerror(error)),
          .advice = ok ? "" : advice};
}

struct Capability {
  int number;
  const char* name;
};

Check capabilities(const UniqueFd& kvm, const char* name, std::initializer_list<Capability> needed) {
  std::string lacks;
  for (const Capability& capability : needed) {
    if (kvm && ::ioctl(kvm.get(), KVM_CHECK_EXTENSION, capability.number) > 0) continue;
    lacks += lacks.empty() ? "lacks " : ", ";
    lacks += capability.name;
  }
  if (!kvm) lacks = "no /dev/kvm to ask";
  const bool ok = lacks.empty();
  return {.name = name,
          .ok = ok,
          .required = true,
          .found = ok ? "there" : lacks,
          .advice = ok ? "" : (kvm ? "use a kernel with the whole of KVM, such as Debian's" : kFirst)};
}

Check unmodified_kernels(const UniqueFd& kvm) {
  Check check{.name = "unmodified kernels", .ok = false, .required = true, .found = "no /dev/kvm to try", .advice = ""};
  if (kvm) {
    const auto probed = probe_kernel_mode(kvm);
    check.ok = probed.has_value();
    check.found = check.ok ? "run" : ipc::describe(probed.error());
  }
  if (!check.ok) check.advice = kvm ? "use a host whose KVM works with VT-x or AMD-V" : kFirst;
  return check;
}

}  // namespace

std::vector<Check> check_kvm() {
  const UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
  const int error = kvm ? 0 : errno;
  std::vector<Check> checks;
  checks.push_back(processor());
  checks.push_back(device(kvm, error));
  checks.push_back(capabilities(kvm, "KVM: the machine",
                                {{KVM_CAP_USER_MEMORY, "user memory"},
                                 {KVM_CAP_IRQCHIP, "interrupt controllers"},
                                 {KVM_CAP_PIT2, "timer"},
                                 {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"}}));
  checks.push_back(capabilities(kvm, "KVM: irqfd, ioeventfd",
                                {{KVM_CAP_IRQFD, "irqfd"},
                                 {KVM_CAP_IRQFD_RESAMPLE, "irqfd with resampling"},
                                 {KVM_CAP_IOEVENTFD, "ioeventfd"},
                                 {KVM_CAP_IOEVENTFD_ANY_LENGTH, "ioeventfd of any length"}}));
  checks.push_back(
      capabilities(kvm, "KVM: MSI", {{KVM_CAP_IRQ_ROUTING, "interrupt routing"}, {KVM_CAP_SIGNAL_MSI, "MSI"}}));
  checks.push_back(unmodified_kernels(kvm));
  return checks;
}

}  // namespace cli
