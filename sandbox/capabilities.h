// What a privileged process keeps of root's rights.
#pragma once

#include "ipc/error.h"

namespace sandbox {

// Keeps the capabilities that starting children takes (spawn(), passt), stopping them, and reaching sockets of other
// users, and telling what one was killed for; the others are gone for good, for whatever it starts too. Who has none
// keeps none.
ipc::Result<> keep_what_children_need();

}  // namespace sandbox
