// The one way to call KVM. Included by kvm/ alone.
#pragma once

#include <sys/ioctl.h>

#include <string_view>
#include <vector>

#include "ipc/error.h"
#include "ipc/unique_fd.h"
#include "sandbox/linux_kvm.h"

namespace vcpu_host {

template <class Argument>
ipc::Result<int> kvm_call(const ipc::UniqueFd& fd, unsigned long request, Argument argument, std::string_view name) {
  const int result = ::ioctl(fd.get(), request, argument);
  if (result < 0) return ipc::system_failure(std::string(name));
  return result;
}

// One of KVM's structures that end in an array of `count` entries (kvm_msrs, kvm_cpuid2, …), all zero.
template <class Table, class Entry>
class Entries {
 public:
  explicit Entries(std::size_t count)
      : words_((sizeof(Table) + count * sizeof(Entry) + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t)) {}
  // SAFETY: the words are at least as large and as aligned as the table with its entries.
  Table* get() { return reinterpret_cast<Table*>(words_.data()); }
  Table* operator->() { return get(); }

 private:
  std::vector<std::uint64_t> words_;
};

}  // namespace vcpu_host
