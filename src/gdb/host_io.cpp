#include "gdb/host_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "gdb/packet.h"

namespace myna::gdb {

namespace {

/// errno values of the protocol ("Errno Values"); the rest is EUNKNOWN.
int protocol_errno(int e) {
    static constexpr int kSame[] = {EPERM, ENOENT, EINTR, EIO, EBADF, EACCES, EFAULT, EBUSY, EEXIST, ENODEV, ENOTDIR, EISDIR, EINVAL,
                                    ENFILE, EMFILE, EFBIG, ENOSPC, ESPIPE, EROFS};
    if (e == ENAMETOOLONG) return 91;
    return std::find(std::begin(kSame), std::end(kSame), e) != std::end(kSame) ? e : 9999;
}
std::string failure() { return "F-1," + hex_number(static_cast<uint64_t>(protocol_errno(errno))); }
std::string result(int64_t v) { return "F" + hex_number(static_cast<uint64_t>(v)); }

/// Open flags of the protocol are those of the first Unixes.
int host_flags(int64_t f) {
    int flags = static_cast<int>(f & 3) | O_CLOEXEC;
    if ((f & 0x8) != 0) flags |= O_APPEND;
    if ((f & 0x200) != 0) flags |= O_CREAT;
    if ((f & 0x400) != 0) flags |= O_TRUNC;
    if ((f & 0x800) != 0) flags |= O_EXCL;
    return flags;
}

/// struct stat of the protocol: big endian, 64 bytes.
std::string stat_bytes(const struct stat& s) {
    std::string out;
    const auto put = [&](uint64_t v, int bytes) {
        for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(v >> (8 * i));
    };
    put(s.st_dev, 4);
    put(s.st_ino, 4);
    put(s.st_mode, 4);
    put(s.st_nlink, 4);
    put(s.st_uid, 4);
    put(s.st_gid, 4);
    put(s.st_rdev, 4);
    put(static_cast<uint64_t>(s.st_size), 8);
    put(static_cast<uint64_t>(s.st_blksize), 8);
    put(static_cast<uint64_t>(s.st_blocks), 8);
    put(static_cast<uint64_t>(s.st_atime), 4);
    put(static_cast<uint64_t>(s.st_mtime), 4);
    put(static_cast<uint64_t>(s.st_ctime), 4);
    return out;
}

}  // namespace

HostIo::~HostIo() {
    for (const int fd : fds_) close(fd);
}

bool HostIo::ours(int fd) const { return std::find(fds_.begin(), fds_.end(), fd) != fds_.end(); }

std::string HostIo::handle(std::string_view operation) {
    Reader r(operation);
    const std::string_view name = r.until(':');
    if (name == "setfs") return "F0";
    if (name == "open") {
        const std::string path = from_hex(r.until(','));
        const auto flags = r.number();
        r.take(',');
        const auto mode = r.number();
        if (!flags || !mode) return "F-1,16";
        const int fd = open(map_(path).c_str(), host_flags(*flags), static_cast<mode_t>(*mode));
        if (fd < 0) return failure();
        fds_.push_back(fd);
        return result(fd);
    }
    if (name == "unlink") return unlink(map_(from_hex(r.rest())).c_str()) == 0 ? "F0" : failure();
    if (name == "readlink") {
        char target[PATH_MAX];
        const ssize_t n = readlink(map_(from_hex(r.rest())).c_str(), target, sizeof target);
        if (n < 0) return failure();
        return result(n) + ";" + std::string(target, static_cast<size_t>(n));
    }
    if (name == "stat" || name == "lstat") {
        struct stat s{};
        const std::string path = map_(from_hex(r.rest()));
        if ((name == "stat" ? stat(path.c_str(), &s) : lstat(path.c_str(), &s)) != 0) return failure();
        const std::string bytes = stat_bytes(s);
        return result(static_cast<int64_t>(bytes.size())) + ";" + bytes;
    }
    if (name != "close" && name != "pread" && name != "pwrite" && name != "fstat") return "";
    const auto number = r.number();
    const int fd = number ? static_cast<int>(*number) : -1;
    if (!ours(fd)) {
        errno = EBADF;
        return failure();
    }
    if (name == "close") {
        std::erase(fds_, fd);
        return close(fd) == 0 ? "F0" : failure();
    }
    if (name == "fstat") {
        struct stat s{};
        if (fstat(fd, &s) != 0) return failure();
        const std::string bytes = stat_bytes(s);
        return result(static_cast<int64_t>(bytes.size())) + ";" + bytes;
    }
    r.take(',');
    if (name == "pread") {
        const auto count = r.number();
        r.take(',');
        const auto offset = r.number();
        if (!count || !offset || *count < 0) return "F-1,16";
        std::string data(static_cast<size_t>(std::min<int64_t>(*count, 0x8000)), '\0');
        const ssize_t n = pread(fd, data.data(), data.size(), *offset);
        if (n < 0) return failure();
        return result(n) + ";" + data.substr(0, static_cast<size_t>(n));
    }
    const auto offset = r.number();
    r.take(',');
    if (!offset) return "F-1,16";
    const ssize_t n = pwrite(fd, r.rest().data(), r.rest().size(), *offset);
    return n < 0 ? failure() : result(n);
}

}  // namespace myna::gdb
