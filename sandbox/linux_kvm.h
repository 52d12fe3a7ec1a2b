// KVM's own header, for the processes that may call KVM and for the filter that says which calls. The
// one place that includes it: as Debian 12 has it, C++ gets its structures wrong.
#pragma once

#include <linux/stddef.h>

// Linux before 6.5 declares the entries of kvm_msrs, kvm_cpuid2, kvm_irq_routing behind an empty struct,
// which has no size in C but one byte in C++: entries, sizes and with them ioctl numbers come out wrong.
#undef __DECLARE_FLEX_ARRAY
#define __DECLARE_FLEX_ARRAY(TYPE, NAME) TYPE NAME[0]

#include <linux/kvm.h>

static_assert(sizeof(kvm_irq_routing) == 8 && sizeof(kvm_msrs) == 8 && sizeof(kvm_cpuid2) == 8);
