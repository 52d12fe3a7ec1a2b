// Locks of whole files, by which programs that know nothing of each other keep out of each other's way.
#pragma once

#include <chrono>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace ipc {

enum class Lock { Shared, Exclusive };  // any number of readers, or one writer

// An open file description's lock (fcntl(2), F_OFD_SETLK), which goes when the last duplicate of `file` is closed,
// whatever happens to the processes. EBUSY if it is still somebody else's after `patience`, during which this waits.
Result<> lock_file(const UniqueFd& file, Lock lock, std::chrono::milliseconds patience);

// Of a file that lock_file() has locked.
void unlock_file(const UniqueFd& file);

}  // namespace ipc
