// Memory and IPC calls.
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>

#include <cerrno>
#include <cstring>

#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/io_uring.h"

namespace myna::user {

int64_t call_mmap(Thread& t, const uint64_t* a) {
    const int64_t r = t.memory.mmap(a[0], a[1], static_cast<int>(a[2]), static_cast<int>(a[3]), static_cast<int>(a[4]), a[5]);
    if (IoRings* rings = t.process.rings.load(); rings != nullptr && r >= 0 && (a[3] & MAP_ANONYMOUS) == 0) [[unlikely]]
        rings->mapped(static_cast<int>(a[4]), a[5], static_cast<uint64_t>(r));
    return r;
}
int64_t call_munmap(Thread& t, const uint64_t* a) { return t.memory.munmap(a[0], a[1]); }
int64_t call_mprotect(Thread& t, const uint64_t* a) { return t.memory.mprotect(a[0], a[1], static_cast<int>(a[2])); }
int64_t call_pkey_mprotect(Thread& t, const uint64_t* a) {
    if (static_cast<int32_t>(a[3]) != -1) return -EINVAL;
    return t.memory.mprotect(a[0], a[1], static_cast<int>(a[2]));
}
int64_t call_mremap(Thread& t, const uint64_t* a) { return t.memory.mremap(a[0], a[1], a[2], static_cast<int>(a[3]), a[4]); }
int64_t call_madvise(Thread& t, const uint64_t* a) { return t.memory.madvise(a[0], a[1], static_cast<int>(a[2])); }
int64_t call_brk(Thread& t, const uint64_t* a) { return t.memory.brk(a[0]); }
int64_t call_shmat(Thread& t, const uint64_t* a) { return t.memory.shmat(static_cast<int>(a[0]), a[1], static_cast<int>(a[2])); }
int64_t call_shmdt(Thread& t, const uint64_t* a) { return t.memory.shmdt(a[0]); }

/// Locking everything would lock the code cache and all reservations of the emulator as well.
int64_t call_mlockall(Thread&, const uint64_t* a) {
    if ((a[0] & ~uint64_t{MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT}) != 0 || a[0] == 0 || a[0] == MCL_ONFAULT) return -EINVAL;
    return 0;
}

int64_t call_mq_notify(Thread& t, const uint64_t* a) {
    sigevent e;
    if (t.memory.base() == 0 || a[1] == 0) return host_syscall(SYS_mq_notify, a[0], a[1]);
    if (t.memory.get(a[1], e) != 0) return -EFAULT;
    // The kernel takes 32 bytes from there, which it sends back.
    if (e.sigev_notify == SIGEV_THREAD) e.sigev_value.sival_ptr = t.memory.host<void>(reinterpret_cast<uint64_t>(e.sigev_value.sival_ptr));
    return host_syscall(SYS_mq_notify, a[0], arg(&e));
}

int64_t call_semctl(Thread& t, const uint64_t* a) {
    // struct semid64_ds of asm-generic: without the padding that x86-64 has behind its times.
    struct GenericSemid {
        uint8_t perm[48];
        int64_t otime, ctime;
        uint64_t nsems, unused[2];
    } g{};
    struct HostSemid {
        uint8_t perm[48];
        int64_t otime, unused1, ctime, unused2;
        uint64_t nsems, unused[2];
    } h{};
    static_assert(sizeof(ipc_perm) == 48);
    const int command = static_cast<int>(a[2]);
    switch (command & 0xff) {
        case IPC_STAT: case SEM_STAT: case 20 /* SEM_STAT_ANY */: {
            const int64_t r = host_syscall(SYS_semctl, a[0], a[1], a[2], arg(&h));
            if (r < 0) return r;
            std::memcpy(g.perm, h.perm, sizeof g.perm);
            g.otime = h.otime;
            g.ctime = h.ctime;
            g.nsems = h.nsems;
            return t.memory.put(a[3], g) != 0 ? -EFAULT : r;
        }
        case IPC_SET:
            if (t.memory.get(a[3], g) != 0) return -EFAULT;
            std::memcpy(h.perm, g.perm, sizeof h.perm);
            return host_syscall(SYS_semctl, a[0], a[1], a[2], arg(&h));
        case GETALL: case SETALL: case IPC_INFO: case SEM_INFO:
            return host_syscall(SYS_semctl, a[0], a[1], a[2], t.memory.host_arg(a[3]));
        default:
            return host_syscall(SYS_semctl, a[0], a[1], a[2], a[3]);
    }
}

int64_t call_riscv_flush_icache(Thread& t, const uint64_t* a) {
    if (t.abi.hwprobe == nullptr) return -ENOSYS;
    if ((a[2] & ~uint64_t{1}) != 0) return -EINVAL;
    if (a[1] > a[0]) t.process.engine->invalidate(a[0], a[1] - a[0]);
    else t.process.engine->invalidate(0, ~uint64_t{0});
    return 0;
}

int64_t call_riscv_hwprobe(Thread& t, const uint64_t* a) {
    struct Pair {
        int64_t key;
        uint64_t value;
    };
    if (t.abi.hwprobe == nullptr) return -ENOSYS;
    if ((a[4] & ~uint64_t{1}) != 0) return -EINVAL;
    if ((a[4] & 1) != 0) return -EINVAL;  // RISCV_HWPROBE_WHICH_CPUS: all are the same, nobody asks
    for (uint64_t i = 0; i < a[1]; ++i) {
        Pair p;
        if (t.memory.get(a[0] + i * sizeof p, p) != 0) return -EFAULT;
        uint64_t value = 0;
        if (!t.abi.hwprobe(t.process.cpu, p.key, value)) p.key = -1;
        p.value = value;
        if (t.memory.put(a[0] + i * sizeof p, p) != 0) return -EFAULT;
    }
    return 0;
}

}  // namespace myna::user
