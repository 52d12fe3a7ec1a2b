// A memfd as Boost.Interprocess maps it. Private to this folder.
#pragma once

#include <boost/interprocess/exceptions.hpp>
#include <boost/interprocess/mapped_region.hpp>

#include "ipc/error.h"
#include "ipc/unique_fd.h"

namespace telemetry {

// Maps the first `bytes` of `file`, which is borrowed. Errors: those of mmap(2).
inline ipc::Result<boost::interprocess::mapped_region> map_shared(const ipc::UniqueFd& file, std::size_t bytes,
                                                                  boost::interprocess::mode_t mode) {
  struct Mappable {
    boost::interprocess::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
    int fd;
  };
  try {
    return boost::interprocess::mapped_region(Mappable{file.get()}, mode, 0, bytes);
  } catch (const boost::interprocess::interprocess_exception& exception) {
    return ipc::failure(static_cast<int>(exception.get_native_error()), "map telemetry");
  }
}

}  // namespace telemetry
