// Seccomp filters, interpreted with the guest's architecture and system call numbers. The host's kernel knows nothing of them.
//
//   guest system call ─▶ traced_system_call ─▶ run_filters: strictest answer of all ─▶ allow │ errno │ SIGSYS │ tracer │ death
//
// A thread's filters are a chain that only grows, shared by the threads and processes that inherit it; filters are never
// freed. execve hands them to the new emulator in a memory file (-seccomp FD).
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <vector>

namespace myna::user {

class Thread;

struct SeccompFilter {
    const SeccompFilter* older = nullptr;
    bool strict = false;                // SECCOMP_MODE_STRICT: no program
    std::vector<sock_filter> program;
};

/// run_filters' answer for what SECCOMP_MODE_STRICT forbids.
inline constexpr uint32_t kStrictDeath = 0x4d79;

/// What the filters say of a call: SECCOMP_RET_* with its data.
uint32_t run_filters(const Thread& t, uint64_t number, const uint64_t* args);

/// A memory file that holds a thread's filters, for execve; -1 when it has none (or -errno).
int64_t save_filters(const Thread& t);
/// In the new program.
void load_filters(Thread& t, int fd);

/// prctl(PR_SET_SECCOMP) and PR_GET_SECCOMP.
int64_t set_seccomp(Thread& t, uint64_t mode, uint64_t program);
int64_t get_seccomp(const Thread& t);

}  // namespace myna::user
