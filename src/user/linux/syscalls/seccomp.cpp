#include "user/linux/syscalls/seccomp.h"

#include <linux/capability.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "user/linux/syscalls/calls.h"

namespace myna::user {

namespace {

constexpr size_t kMaxInstructions = 4096;
constexpr uint64_t kMaxAll = 32768;  // of all filters of a thread, each with four more (the kernel's limit)

/// The instructions that the kernel lets a seccomp filter have; jumps stay inside and the end is an answer.
bool valid(const std::vector<sock_filter>& p) {
    for (size_t i = 0; i < p.size(); ++i) {
        const sock_filter& f = p[i];
        const size_t left = p.size() - i - 1;
        switch (f.code) {
            case BPF_LD | BPF_W | BPF_ABS:
                if (f.k >= sizeof(seccomp_data) || (f.k & 3) != 0) return false;
                break;
            case BPF_LD | BPF_W | BPF_LEN: case BPF_LDX | BPF_W | BPF_LEN: case BPF_RET | BPF_K: case BPF_RET | BPF_A:
            case BPF_ALU | BPF_ADD | BPF_K: case BPF_ALU | BPF_ADD | BPF_X: case BPF_ALU | BPF_SUB | BPF_K: case BPF_ALU | BPF_SUB | BPF_X:
            case BPF_ALU | BPF_MUL | BPF_K: case BPF_ALU | BPF_MUL | BPF_X: case BPF_ALU | BPF_DIV | BPF_X:
            case BPF_ALU | BPF_AND | BPF_K: case BPF_ALU | BPF_AND | BPF_X: case BPF_ALU | BPF_OR | BPF_K: case BPF_ALU | BPF_OR | BPF_X:
            case BPF_ALU | BPF_XOR | BPF_K: case BPF_ALU | BPF_XOR | BPF_X: case BPF_ALU | BPF_LSH | BPF_X: case BPF_ALU | BPF_RSH | BPF_X:
            case BPF_ALU | BPF_NEG: case BPF_LD | BPF_IMM: case BPF_LDX | BPF_IMM: case BPF_MISC | BPF_TAX: case BPF_MISC | BPF_TXA:
                break;
            case BPF_ALU | BPF_DIV | BPF_K:
                if (f.k == 0) return false;
                break;
            case BPF_ALU | BPF_LSH | BPF_K: case BPF_ALU | BPF_RSH | BPF_K:
                if (f.k >= 32) return false;
                break;
            case BPF_LD | BPF_MEM: case BPF_LDX | BPF_MEM: case BPF_ST: case BPF_STX:
                if (f.k >= BPF_MEMWORDS) return false;
                break;
            case BPF_JMP | BPF_JA:
                if (f.k >= left) return false;
                break;
            case BPF_JMP | BPF_JEQ | BPF_K: case BPF_JMP | BPF_JEQ | BPF_X: case BPF_JMP | BPF_JGE | BPF_K: case BPF_JMP | BPF_JGE | BPF_X:
            case BPF_JMP | BPF_JGT | BPF_K: case BPF_JMP | BPF_JGT | BPF_X: case BPF_JMP | BPF_JSET | BPF_K: case BPF_JMP | BPF_JSET | BPF_X:
                if (f.jt >= left || f.jf >= left) return false;
                break;
            default: return false;
        }
    }
    return !p.empty() && BPF_CLASS(p.back().code) == BPF_RET;
}

/// A valid program's answer.
uint32_t interpret(const std::vector<sock_filter>& p, const seccomp_data& data) {
    uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = {};
    for (size_t i = 0;; ++i) {
        const sock_filter& f = p[i];
        const uint32_t v = BPF_SRC(f.code) == BPF_X ? x : f.k;
        switch (BPF_CLASS(f.code)) {
            case BPF_LD:
                if (BPF_MODE(f.code) == BPF_ABS) std::memcpy(&a, reinterpret_cast<const uint8_t*>(&data) + f.k, 4);
                else a = BPF_MODE(f.code) == BPF_LEN ? uint32_t{sizeof data} : BPF_MODE(f.code) == BPF_MEM ? memory[f.k] : f.k;
                break;
            case BPF_LDX: x = BPF_MODE(f.code) == BPF_LEN ? uint32_t{sizeof data} : BPF_MODE(f.code) == BPF_MEM ? memory[f.k] : f.k; break;
            case BPF_ST: memory[f.k] = a; break;
            case BPF_STX: memory[f.k] = x; break;
            case BPF_ALU:
                switch (BPF_OP(f.code)) {
                    case BPF_ADD: a += v; break;
                    case BPF_SUB: a -= v; break;
                    case BPF_MUL: a *= v; break;
                    case BPF_DIV:
                        if (v == 0) return 0;
                        a /= v;
                        break;
                    case BPF_AND: a &= v; break;
                    case BPF_OR: a |= v; break;
                    case BPF_XOR: a ^= v; break;
                    case BPF_LSH: a = a << (v & 31); break;
                    case BPF_RSH: a = a >> (v & 31); break;
                    default: a = 0 - a; break;
                }
                break;
            case BPF_JMP: {
                bool yes = false;
                switch (BPF_OP(f.code)) {
                    case BPF_JA: i += f.k; continue;
                    case BPF_JEQ: yes = a == v; break;
                    case BPF_JGT: yes = a > v; break;
                    case BPF_JGE: yes = a >= v; break;
                    default: yes = (a & v) != 0; break;
                }
                i += yes ? f.jt : f.jf;
                break;
            }
            case BPF_RET: return BPF_RVAL(f.code) == BPF_A ? a : f.k;
            default:
                if (BPF_MISCOP(f.code) == BPF_TAX) x = a;
                else a = x;
                break;
        }
    }
}

bool may_install() {
    if (host_syscall(SYS_prctl, PR_GET_NO_NEW_PRIVS) == 1) return true;
    __user_cap_header_struct h{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct d[2] = {};
    return host_syscall(SYS_capget, arg(&h), arg(d)) == 0 && (d[0].effective >> CAP_SYS_ADMIN & 1) != 0;
}

int64_t set_strict(Thread& t) {
    if (const SeccompFilter* f = t.filters.load(); f != nullptr) return f->strict ? 0 : -EINVAL;
    auto* f = new SeccompFilter;
    f->strict = true;
    t.filters.store(f);
    return 0;
}

int64_t add_filter(Thread& t, uint64_t flags, uint64_t at) {
    if ((flags & ~uint64_t{SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW | SECCOMP_FILTER_FLAG_TSYNC_ESRCH}) != 0)
        return -EINVAL;  // among them: a listener (SECCOMP_RET_USER_NOTIF)
    struct Program {
        uint16_t count;
        uint64_t filter;
    } program{};
    if (t.memory.get(at, program) != 0) return -EFAULT;
    if (program.count == 0 || program.count > kMaxInstructions) return -EINVAL;
    if (!may_install()) return -EACCES;
    const SeccompFilter* older = t.filters.load();
    if (older != nullptr && older->strict) return -EINVAL;
    auto f = std::make_unique<SeccompFilter>();
    f->program.resize(program.count);
    if (t.memory.copy_in(f->program.data(), program.filter, program.count * sizeof(sock_filter)) != 0) return -EFAULT;
    if (!valid(f->program)) return -EINVAL;
    uint64_t all = program.count + 4;
    for (const SeccompFilter* o = older; o != nullptr; o = o->older) all += o->program.size() + 4;
    if (all > kMaxAll) return -ENOMEM;
    f->older = older;
    const std::lock_guard l(t.process.threads_lock);
    if ((flags & SECCOMP_FILTER_FLAG_TSYNC) != 0) {
        // Every thread's filters must be among ours.
        for (const Thread* other : t.process.threads) {
            const SeccompFilter* theirs = other->filters.load();
            const SeccompFilter* o = older;
            while (o != nullptr && o != theirs) o = o->older;
            if (theirs != o) return (flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH) != 0 ? -ESRCH : 1;
        }
        for (Thread* other : t.process.threads) other->filters.store(f.get());
    }
    t.filters.store(f.release());
    return 0;
}

}  // namespace

uint32_t run_filters(const Thread& t, uint64_t number, const uint64_t* args) {
    const SeccompFilter* f = t.filters.load(std::memory_order_acquire);
    if (f == nullptr) return SECCOMP_RET_ALLOW;
    if (f->strict) {
        // read, write, exit, rt_sigreturn
        return number == 63 || number == 64 || number == 93 || number == 139 ? SECCOMP_RET_ALLOW : kStrictDeath;
    }
    seccomp_data data{};
    data.nr = static_cast<int>(number);
    data.arch = t.abi.audit_arch;
    data.instruction_pointer = t.vcpu->header().pc;
    std::copy_n(args, 6, data.args);
    uint32_t answer = SECCOMP_RET_ALLOW;
    for (; f != nullptr; f = f->older) {
        const uint32_t v = interpret(f->program, data);
        if (static_cast<int32_t>(v & SECCOMP_RET_ACTION_FULL) < static_cast<int32_t>(answer & SECCOMP_RET_ACTION_FULL)) answer = v;
    }
    return answer;
}

int64_t save_filters(const Thread& t) {
    if (t.filters.load() == nullptr) return -1;
    std::vector<const SeccompFilter*> chain;
    for (const SeccompFilter* f = t.filters.load(); f != nullptr; f = f->older) chain.insert(chain.begin(), f);
    const int64_t low = host_syscall(SYS_memfd_create, arg("seccomp"), 0);
    if (low < 0) return low;
    // Out of the way of the guest's own descriptors.
    int64_t fd = host_syscall(SYS_fcntl, arg(low), 0 /* F_DUPFD */, 200);
    if (fd < 0) fd = low;
    else host_syscall(SYS_close, arg(low));
    for (const SeccompFilter* f : chain) {
        const uint32_t count = f->strict ? 0 : static_cast<uint32_t>(f->program.size());
        host_syscall(SYS_write, arg(fd), arg(&count), sizeof count);
        host_syscall(SYS_write, arg(fd), arg(f->program.data()), count * sizeof(sock_filter));
    }
    return fd;
}

void load_filters(Thread& t, int fd) {
    uint64_t at = 0;
    const auto read = [&](void* to, size_t n) {
        if (host_syscall(SYS_pread64, static_cast<uint64_t>(fd), arg(static_cast<char*>(to)), n, at) != static_cast<int64_t>(n)) return false;
        at += n;
        return true;
    };
    for (uint32_t count = 0; read(&count, sizeof count);) {
        auto* f = new SeccompFilter;
        f->older = t.filters.load();
        f->strict = count == 0;
        f->program.resize(count);
        // Without its filters the program must not run.
        if (count > kMaxInstructions || !read(f->program.data(), count * sizeof(sock_filter)) || (count != 0 && !valid(f->program)))
            host_syscall(SYS_exit_group, 126);
        t.filters.store(f);
    }
    host_syscall(SYS_close, static_cast<uint64_t>(fd));
}

int64_t set_seccomp(Thread& t, uint64_t mode, uint64_t program) {
    if (mode == SECCOMP_MODE_STRICT) return set_strict(t);
    return mode == SECCOMP_MODE_FILTER ? add_filter(t, 0, program) : -EINVAL;
}

int64_t get_seccomp(const Thread& t) {
    const SeccompFilter* f = t.filters.load();
    return f == nullptr ? 0 : f->strict ? SECCOMP_MODE_STRICT : SECCOMP_MODE_FILTER;
}

int64_t call_seccomp(Thread& t, const uint64_t* a) {
    switch (a[0]) {
        case SECCOMP_SET_MODE_STRICT: return a[1] != 0 || a[2] != 0 ? -EINVAL : set_strict(t);
        case SECCOMP_SET_MODE_FILTER: return add_filter(t, a[1], a[2]);
        case SECCOMP_GET_ACTION_AVAIL: {
            uint32_t action = 0;
            if (a[1] != 0) return -EINVAL;
            if (t.memory.get(a[2], action) != 0) return -EFAULT;
            switch (action) {
                case SECCOMP_RET_KILL_PROCESS: case SECCOMP_RET_KILL_THREAD: case SECCOMP_RET_TRAP: case SECCOMP_RET_ERRNO:
                case SECCOMP_RET_TRACE: case SECCOMP_RET_LOG: case SECCOMP_RET_ALLOW: return 0;
                default: return -EOPNOTSUPP;
            }
        }
        default: return -EINVAL;
    }
}

}  // namespace myna::user
