// userfaultfd with a guest_base: the addresses in its ioctls and in what is read from it are the host's.
//
//   guest ─ioctl 0xaa─▶ addresses + base ─▶ host        host ─uffd_msg─▶ addresses - base ─▶ guest
//
// Source of layouts: include/uapi/linux/userfaultfd.h.
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "user/linux/syscalls/calls.h"

namespace myna::user {

namespace {

constexpr uint32_t kNew = 0x00, kCopy = 0x03, kMove = 0x05, kApi = 0x3f;
constexpr uint8_t kEventPagefault = 0x12, kEventFork = 0x13;

struct Message {
    uint8_t event, reserved[7];
    uint64_t arg[3];
};
static_assert(sizeof(Message) == 32);

/// A descriptor number may be another file's by now.
bool is_userfaultfd(int fd) {
    char path[32], name[64] = {};
    std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return host_syscall(SYS_readlink, arg(path), arg(name), sizeof name - 1) > 0 && std::strcmp(name, "anon_inode:[userfaultfd]") == 0;
}

}  // namespace

int64_t call_userfaultfd(Thread& t, const uint64_t* a) {
    const int64_t fd = host_syscall(SYS_userfaultfd, a[0]);
    if (fd >= 0) t.process.fault_files.add(static_cast<int>(fd), 0);
    return fd;
}

int64_t userfault_ioctl(Thread& t, const uint64_t* a) {
    const auto request = static_cast<uint32_t>(a[1]);
    const uint32_t nr = _IOC_NR(request), size = _IOC_SIZE(request);
    if (nr == kNew && size == 0) {  // of /dev/userfaultfd
        const int64_t fd = t.syscall(SYS_ioctl, a[0], a[1], a[2]);
        if (fd >= 0) t.process.fault_files.add(static_cast<int>(fd), 0);
        return fd;
    }
    uint64_t words[16] = {};
    if (nr == kApi || size < 16 || size > sizeof words) return t.syscall(SYS_ioctl, a[0], a[1], t.memory.host_arg(a[2]));
    if (t.memory.copy_in(words, a[2], size) != 0) return -EFAULT;
    const uint64_t base = t.memory.base();
    const unsigned addresses = nr == kCopy || nr == kMove ? 2 : 1;
    for (unsigned i = 0; i < addresses; ++i) words[i] += base;
    const int64_t r = t.syscall(SYS_ioctl, a[0], a[1], arg(words));
    for (unsigned i = 0; i < addresses; ++i) words[i] -= base;
    return t.memory.copy_out(a[2], words, size) != 0 ? -EFAULT : r;
}

int64_t call_read(Thread& t, const uint64_t* a) {
    const int64_t r = pass<SYS_read, 2>(t, a);
    const uint64_t base = t.memory.base();
    if (base == 0 || !t.process.fault_files.any() || r < static_cast<int64_t>(sizeof(Message))) [[likely]] return r;
    const int fd = static_cast<int>(a[0]);
    if (t.process.fault_files.find(fd) < 0 || !is_userfaultfd(fd)) return r;
    for (uint64_t done = 0; done + sizeof(Message) <= static_cast<uint64_t>(r); done += sizeof(Message)) {
        Message m;
        if (t.memory.get(a[1] + done, m) != 0) return -EFAULT;
        if (m.event == kEventFork) {
            t.process.fault_files.add(static_cast<int>(m.arg[0]), 0);
        } else if (m.event == kEventPagefault) {
            m.arg[1] -= base;
        } else {  // remapped, removed, unmapped: a range
            m.arg[0] -= base;
            m.arg[1] -= base;
        }
        if (t.memory.put(a[1] + done, m) != 0) return -EFAULT;
    }
    return r;
}

}  // namespace myna::user
