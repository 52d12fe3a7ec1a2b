// KVM's own header and the one way to call it. Included by kvm/ alone.
#pragma once

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <string_view>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace vcpu_host {

template <class Argument>
ipc::Result<int> kvm_call(const ipc::UniqueFd& fd, unsigned long request, Argument argument, std::string_view name) {
  const int result = ::ioctl(fd.get(), request, argument);
  if (result < 0) return ipc::system_failure(std::string(name));
  return result;
}

}  // namespace vcpu_host
