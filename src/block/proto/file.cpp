#include "block/proto/file.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "base/bits.h"
#include "block/graph/graph.h"

namespace myna::block {

namespace {

constexpr off_t kPermByte = 100;    // + permission number
constexpr off_t kSharedByte = 200;
constexpr unsigned kPermissions = 4;
constexpr const char* kPermNames[kPermissions] = {"consistent read", "write", "write unchanged", "resize"};

struct flock byte_lock(short type, off_t at) {
    struct flock l {};
    l.l_type = type;
    l.l_whence = SEEK_SET;
    l.l_start = at;
    l.l_len = 1;
    return l;
}

/// Takes the locks for `p`, or says which permission another process holds or refuses.
Result<void> lock_file(int fd, const std::string& name, Perm p) {
    for (unsigned i = 0; i < kPermissions; ++i) {
        if (p.perm >> i & 1) {
            struct flock l = byte_lock(F_RDLCK, kPermByte + i);
            if (fcntl(fd, F_OFD_SETLK, &l) != 0) return {};  // a file system without locks
        }
        if (!(p.shared >> i & 1)) {
            struct flock l = byte_lock(F_RDLCK, kSharedByte + i);
            if (fcntl(fd, F_OFD_SETLK, &l) != 0) return {};
        }
    }
    const auto conflict = [&](unsigned i, const char* kind) {
        std::string who = lock_holder(name);
        return fail(ErrorKind::kInUse, std::string("Failed to get ") + kind + "\"" + kPermNames[i] + "\" lock\nIs another process using the image [" +
                                           name + "]?" + (who.empty() ? "" : " (" + who + ")"));
    };
    for (unsigned i = 0; i < kPermissions; ++i) {
        if (p.perm >> i & 1) {
            struct flock l = byte_lock(F_WRLCK, kSharedByte + i);
            if (fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK) return conflict(i, "");
        }
        if (!(p.shared >> i & 1)) {
            struct flock l = byte_lock(F_WRLCK, kPermByte + i);
            if (fcntl(fd, F_OFD_GETLK, &l) == 0 && l.l_type != F_UNLCK) return conflict(i, "shared ");
        }
    }
    return {};
}

/// Whether a small write to the page cache is made at once, by the thread of the Reactor: handing it to another one costs
/// several times what it takes. Not while such writes wait for the disk (a throttled writer, a page that must be read first):
/// after one that took long, the next are handed on for a hundred times as long.
class AtOnce {
  public:
    using Clock = std::chrono::steady_clock;
    [[nodiscard]] bool suits(uint64_t bytes) {
        if (bytes > kLargest) return false;
        began_ = Clock::now();
        if (began_ < not_before_) return false;
        return ++row_ % kRow != 0;  // a loop of writes lets others have their turn
    }
    void done() {
        if (const auto took = Clock::now() - began_; took > kLong) not_before_ = began_ + 100 * took;
    }

  private:
    static constexpr uint64_t kLargest = 64 << 10;
    static constexpr unsigned kRow = 64;
    static constexpr std::chrono::microseconds kLong{1000};
    Clock::time_point began_, not_before_;
    unsigned row_ = 0;
};

class FileNode final : public Node {
  public:
    FileNode(io::Reactor& r, int fd, bool device) : Node(r), fd_(fd), device_(device) {}
    ~FileNode() override { ::close(fd_); }
    [[nodiscard]] std::string_view driver() const noexcept override { return device_ ? "host_device" : "file"; }

    Result<void> start(const std::string& name, const OpenOptions& o) {
        // A name like "a:b.img" must not be read as a URL by whoever uses it again.
        filename_ = name.find(':') < name.find('/') ? "./" + name : name;
        read_only_ = o.read_only;
        no_flush_ = o.unsafe_cache;
        cached_ = !o.direct;
        if (device_) {
            struct stat st {};
            if (fstat(fd_, &st) != 0) return fail_errno(errno, "Could not get size of '" + name + "'");
            if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode)) return fail(ErrorKind::kInvalidArgument, "'host_device' driver requires '" + name + "' to be either a character or block device", EINVAL);
            uint64_t bytes = 0;
            if (ioctl(fd_, BLKGETSIZE64, &bytes) != 0) {
                const off_t end = lseek(fd_, 0, SEEK_END);  // /dev/null has an end, too
                if (end < 0) return fail_errno(errno, "Could not get size of '" + name + "'");
                bytes = static_cast<uint64_t>(end);
            }
            size_ = bytes;
        } else {
            struct stat st {};
            if (fstat(fd_, &st) != 0) return fail_errno(errno, "Could not get size of '" + name + "'");
            if (!S_ISREG(st.st_mode)) return fail(ErrorKind::kInvalidArgument, "'file' driver requires '" + name + "' to be a regular file", EINVAL);
            size_ = static_cast<uint64_t>(st.st_size);
        }
        if (o.direct) {
            limits_.request_alignment = limits_.memory_alignment = 4096;
#ifdef STATX_DIOALIGN
            struct statx sx {};
            if (statx(fd_, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 && (sx.stx_mask & STATX_DIOALIGN) && sx.stx_dio_offset_align != 0) {
                limits_.request_alignment = sx.stx_dio_offset_align;
                limits_.memory_alignment = sx.stx_dio_mem_align;
            }
#endif
        }
        return {};
    }

    [[nodiscard]] std::optional<uint64_t> allocated_bytes() const override {
        struct stat st {};
        if (fstat(fd_, &st) != 0) return std::nullopt;
        return static_cast<uint64_t>(st.st_blocks) * 512;
    }
    [[nodiscard]] bool zero_init() const override { return !device_; }
    [[nodiscard]] int host_fd() const noexcept override { return fd_; }

    Task<Result<void>> do_close() override {
        auto r = read_only_ ? Result<void>{} : co_await flush();
        struct flock all {};
        all.l_type = F_UNLCK;
        all.l_whence = SEEK_SET;
        fcntl(fd_, F_OFD_SETLK, &all);
        co_return r;
    }

  protected:
    Task<Result<void>> do_read(uint64_t offset, const IoVec& into) override {
        for (uint64_t done = 0; done < into.size();) {
            const IoVec rest = done == 0 ? into : into.slice(done, into.size() - done);
            const auto parts = rest.parts().first(std::min<size_t>(rest.parts().size(), IOV_MAX_PARTS));
            const ssize_t n = co_await reactor_.preadv(fd_, parts, offset + done);
            if (n == -EINTR || n == -EAGAIN) continue;
            if (n < 0) co_return fail_errno(static_cast<int>(-n), filename_ + ": read at offset " + std::to_string(offset + done));
            if (n == 0) {  // the file was cut while open, or its last sector is short
                rest.fill(0);
                break;
            }
            done += static_cast<uint64_t>(n);
        }
        co_return Result<void>{};
    }
    Task<Result<void>> do_write(uint64_t offset, const IoVec& from, WriteFlags flags) override {
        for (uint64_t done = 0; done < from.size();) {
            const IoVec rest = done == 0 ? from : from.slice(done, from.size() - done);
            const auto parts = rest.parts().first(std::min<size_t>(rest.parts().size(), IOV_MAX_PARTS));
            ssize_t n;
            if (cached_ && reactor_.does_short_work() && at_once_.suits(rest.size())) {
                n = ::pwritev(fd_, parts.data(), static_cast<int>(parts.size()), static_cast<off_t>(offset + done));
                if (n < 0) n = -errno;
                at_once_.done();
            } else {
                n = co_await reactor_.pwritev(fd_, parts, offset + done);
            }
            if (n == -EINTR || n == -EAGAIN) continue;
            if (n <= 0)
                co_return fail_errno(n == 0 ? ENOSPC : static_cast<int>(-n), filename_ + ": write at offset " + std::to_string(offset + done));
            done += static_cast<uint64_t>(n);
        }
        if (flags.fua) co_return co_await do_flush();
        co_return Result<void>{};
    }
    Task<Result<void>> do_write_zeroes(uint64_t offset, uint64_t length, WriteFlags flags) override {
        const int modes[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
        for (const int mode : modes) {
            const bool punch = mode & FALLOC_FL_PUNCH_HOLE;
            if (punch ? !flags.may_unmap || no_punch_ : no_zero_range_) continue;
            const ssize_t r = co_await reactor_.fallocate(fd_, mode, offset, length);
            if (r == 0) {
                if (flags.fua) co_return co_await do_flush();
                co_return Result<void>{};
            }
            if (r != -EOPNOTSUPP && r != -EINVAL && r != -ENOTTY && r != -ENODEV && r != -EPERM)
                co_return fail_errno(static_cast<int>(-r), filename_ + ": zeroing at offset " + std::to_string(offset));
            (punch ? no_punch_ : no_zero_range_) = true;
        }
        co_return co_await Node::do_write_zeroes(offset, length, flags);
    }
    Task<Result<void>> do_discard(uint64_t offset, uint64_t length) override {
        if (no_punch_) co_return Result<void>{};
        const ssize_t r = co_await reactor_.fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
        if (r == -EOPNOTSUPP || r == -EINVAL || r == -ENODEV || r == -ENOTTY) no_punch_ = true;
        else if (r < 0) co_return fail_errno(static_cast<int>(-r), filename_ + ": discard at offset " + std::to_string(offset));
        co_return Result<void>{};
    }
    Task<Result<void>> do_flush() override {
        if (no_flush_) co_return Result<void>{};
        const ssize_t r = co_await reactor_.fdatasync(fd_);
        if (r < 0 && r != -EINVAL && r != -EROFS) co_return fail_errno(static_cast<int>(-r), filename_ + ": flush");
        co_return Result<void>{};
    }
    Task<Result<Extent>> do_block_status(uint64_t offset, uint64_t length) override {
        Extent e{.length = length, .data = true, .allocated = true, .offset = offset, .file = this};
        if (device_) co_return e;
        const auto at = static_cast<off_t>(offset);
        const off_t data = lseek(fd_, at, SEEK_DATA);
        if (data < 0 && errno != ENXIO) co_return e;  // a file system that does not know
        if (data == at) {
            const off_t hole = lseek(fd_, at, SEEK_HOLE);
            if (hole > at) e.length = std::min<uint64_t>(length, static_cast<uint64_t>(hole - at));
        } else {
            e.data = false;
            e.zero = true;
            if (data > at) e.length = std::min<uint64_t>(length, static_cast<uint64_t>(data - at));
        }
        co_return e;
    }
    Task<Result<void>> do_truncate(uint64_t size, std::string_view preallocation) override {
        if (device_) {
            if (size > size_) co_return fail(ErrorKind::kNoSpace, "Cannot grow device files", ENOSPC);
            co_return Result<void>{};
        }
        const uint64_t old = size_;
        if (size < old && preallocation != "off")
            co_return fail(ErrorKind::kInvalidArgument, "Preallocation can't be used for shrinking files");
        if (ftruncate(fd_, static_cast<off_t>(size)) != 0) co_return fail_errno(errno, "Failed to resize file '" + filename_ + "'");
        size_ = size;
        if (size <= old || preallocation == "off" || preallocation == "metadata") co_return Result<void>{};
        if (preallocation == "falloc") {
            const ssize_t r = co_await reactor_.fallocate(fd_, 0, old, size - old);
            if (r < 0) co_return fail_errno(static_cast<int>(-r), "Could not preallocate data for the new file");
            co_return Result<void>{};
        }
        co_return co_await Node::do_write_zeroes(old, size - old, {});
    }

  private:
    static constexpr size_t IOV_MAX_PARTS = 1024;
    int fd_;
    bool device_;
    AtOnce at_once_;
    bool cached_ = false;  // writes go to the page cache
    bool no_flush_ = false, no_punch_ = false, no_zero_range_ = false;
};

Result<std::string> filename_of(const OpenOptions& o) {
    const auto it = o.options.find("filename");
    if (it == o.options.end() || !it->is_string())
        return fail(ErrorKind::kInvalidArgument, "The 'file' block driver requires a file name");
    return it->get<std::string>();
}

Task<Result<NodePtr>> open_node(Graph& graph, const OpenOptions& o, bool device) {
    auto name = filename_of(o);
    if (!name) co_return std::unexpected(name.error());
    int flags = (o.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;
    if (o.direct) flags |= O_DIRECT;
    const int fd = ::open(name->c_str(), flags);
    if (fd < 0) co_return fail_errno(errno, "Could not open '" + *name + "'");
    auto node = std::make_shared<FileNode>(graph.reactor(), fd, device);
    if (auto r = node->start(*name, o); !r) co_return std::unexpected(r.error());
    const auto locking = o.options.find("locking");
    const bool off = locking != o.options.end() && *locking == "off";
    if (!device && !off && !o.force_share) {
        Perm p{.perm = Perm::kRead, .shared = Perm::kRead | Perm::kWriteUnchanged};
        if (o.read_only) p.shared |= o.no_io ? Perm::kWrite | Perm::kResize : 0;
        else p.perm |= Perm::kWrite | Perm::kResize;
        if (auto r = lock_file(fd, *name, p); !r) co_return std::unexpected(r.error());
    }
    co_return node;
}

Task<Result<NodePtr>> open_file(Graph& graph, const OpenOptions& o) {
    auto name = filename_of(o);
    struct stat st {};
    const bool device = name && stat(name->c_str(), &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode));
    return open_node(graph, o, device);
}
Task<Result<NodePtr>> open_device(Graph& graph, const OpenOptions& o) { return open_node(graph, o, true); }

Task<Result<void>> create_file(Graph& graph, const CreateOptions& o) {
    const int fd = ::open(o.filename.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) co_return fail_errno(errno, "Could not create '" + o.filename + "'");
    struct stat st {};
    if (fstat(fd, &st) == 0 && S_ISBLK(st.st_mode)) {
        // A device is what it is: large enough or not. Its first sector must not say that it is an image of another kind.
        FileNode device(graph.reactor(), fd, true);
        if (auto r = device.start(o.filename, {}); !r) co_return r;
        if (device.size() < o.size) co_return fail(ErrorKind::kNoSpace, "Cannot grow device files", ENOSPC);
        std::vector<uint8_t> zeroes(std::min<uint64_t>(512, device.size()));
        auto r = co_await device.write(0, IoVec(zeroes));
        if (r) r = co_await device.flush();
        co_return r;
    }
    // Locked before it is cut: an image in use must survive the attempt.
    if (auto r = lock_file(fd, o.filename, {.perm = Perm::kWrite | Perm::kResize, .shared = 0}); !r) {
        ::close(fd);
        co_return r;
    }
    if (ftruncate(fd, 0) != 0) {
        const int err = errno;
        ::close(fd);
        co_return fail_errno(err, "Could not resize '" + o.filename + "'");
    }
    if (const auto it = o.options.find("nocow"); it != o.options.end() && *it == "on") {
        int attr = 0;
        if (ioctl(fd, FS_IOC_GETFLAGS, &attr) == 0) {
            attr |= FS_NOCOW_FL;
            ioctl(fd, FS_IOC_SETFLAGS, &attr);  // a hint: other file systems refuse it
        }
    }
    const auto p = o.options.find("preallocation");
    OpenOptions open;
    FileNode node(graph.reactor(), fd, false);
    if (auto r = node.start(o.filename, open); !r) co_return r;
    co_return co_await node.truncate(o.size, p == o.options.end() ? "off" : p->get<std::string>());
}

constexpr OptionInfo kFileOptions[] = {
    {"size", OptionInfo::Type::kSize, "Virtual disk size", {}},
    {"nocow", OptionInfo::Type::kBool, "Turn off copy-on-write (valid only on btrfs)", {}},
    {"preallocation", OptionInfo::Type::kString, "Preallocation mode (allowed values: off, falloc, full)", {}},
    {"extent_size_hint", OptionInfo::Type::kSize, "Extent size hint for the image file, 0 to disable", {}},
};

}  // namespace

std::string lock_holder(const std::string& path) {
    struct stat want {};
    if (stat(path.c_str(), &want) != 0) return {};
    // Open file description locks name no process: find one that has the file open for writing.
    std::error_code ec;
    for (const auto& proc : std::filesystem::directory_iterator("/proc", ec)) {
        const std::string pid = proc.path().filename();
        if (pid.find_first_not_of("0123456789") != std::string::npos || pid == std::to_string(getpid())) continue;
        for (const auto& fd : std::filesystem::directory_iterator(proc.path() / "fd", ec)) {
            struct stat st {};
            if (stat(fd.path().c_str(), &st) != 0 || st.st_ino != want.st_ino || st.st_dev != want.st_dev) continue;
            char comm[64] = "";
            if (std::FILE* f = std::fopen(("/proc/" + pid + "/comm").c_str(), "r")) {
                if (std::fgets(comm, sizeof comm, f) != nullptr) comm[std::string_view(comm).find_first_of('\n')] = 0;
                std::fclose(f);
            }
            return "process " + pid + " (" + comm + ") has it open";
        }
    }
    return {};
}

const Driver kFileDriver{"file", Driver::Kind::kProtocol, kFileOptions, nullptr, open_file, create_file, nullptr, false, false};
// A CD-ROM drive is read like any other device; trays and changes of disks are not looked at.
const Driver kHostCdromDriver{"host_cdrom", Driver::Kind::kProtocol, {}, nullptr, open_device, nullptr, nullptr, false, false};
const Driver kHostDeviceDriver{"host_device", Driver::Kind::kProtocol, {}, nullptr, open_device, nullptr, nullptr, false, false};

}  // namespace myna::block
