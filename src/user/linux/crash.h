// The report of a fatal fault: what the program did, where, and what it asked of the kernel before.
//
// It is printed where somebody asked for it (-d crash, QEMU_LOG=crash) and where somebody sits before it: when standard
// error is a terminal. In pipes and files the guest's standard error stays exactly its own.
#pragma once

#include "user/linux/thread.h"

namespace myna::user {

/// Prints the report, if anybody wants it, before the process dies of `info`. Thread: the guest thread that faulted.
void report_crash(Thread& t, const siginfo_t& info);

}  // namespace myna::user
