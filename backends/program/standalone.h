// A back end by itself: QEMU's conventions for vhost-user back ends (docs/interop/vhost-user.rst).
#pragma once

#include <functional>
#include <memory>

#include "backends/program/product.h"

namespace program {

// Makes a product, before anything is given up.
using Open = std::function<ipc::Result<std::unique_ptr<Product>>()>;

// Serves one front end after the other until a signal asks to end. The exit status, as --help tells it.
int serve_standalone(const Common& common, const Open& open);

}  // namespace program
