// What a machine's operator will not do without: layers of its children's sandbox that some hosts lack.
#pragma once

#include <span>
#include <string>

#include "ipc/error.h"
#include "sandbox/seal.h"

namespace monitor {

// `required`: layers by name, "landlock", "deny-write-execute" and so on, or "landlock:N" for at least ABI N. EINVAL
// for a name that there is not, with those that there are; ENOTSUP with the first that `offered` lacks, and what it
// needs.
ipc::Result<> check_isolation(std::span<const std::string> required, const sandbox::Protections& offered);

}  // namespace monitor
