// `bulkhead doctor`: what a host must offer, what this one does, and what to do about the difference.
#pragma once

#include <string>
#include <vector>

namespace cli {

struct Check {
  std::string name;
  bool ok;
  bool required;       // no guest runs without it
  std::string found;   // "6.18.4", "ABI 7", "absent"
  std::string advice;  // what to do; empty where `ok`
};

// The kernel and what it offers to the sandbox and to the back ends.
std::vector<Check> check_host();
// The processor and its KVM. The last one says whether unmodified kernels run.
std::vector<Check> check_kvm();

enum class Report {
  Table,   // for people
  Json,    // for programs: {"able": true, "checks": [{"name": …}, …]}
  Kernel,  // one line: whether an unmodified kernel runs on this host's KVM
};

// Prints to stdout. Whether this host can run guests (Kernel: an unmodified kernel).
bool run_doctor(Report report);

}  // namespace cli
