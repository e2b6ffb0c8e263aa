#include "tools/storage/fuse_export.h"

#define FUSE_USE_VERSION 31
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/falloc.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <vector>

#include "block/graph/chain.h"

namespace myna::tools::storage {

using block::IoVec;
using io::Task;

struct FuseExport::State : std::enable_shared_from_this<FuseExport::State> {
    block::NodePtr node;
    FuseSettings settings;
    fuse_session* session = nullptr;
    bool mounted = false, ended = false;
    unsigned requests = 0;
    uid_t uid = getuid();
    gid_t gid = getgid();
    time_t made = std::time(nullptr);

    ~State() {
        if (session == nullptr) return;
        if (mounted) fuse_session_unmount(session);
        fuse_session_destroy(session);
    }
    /// Runs `work` and counts it.
    void run(Task<void> work) {
        node->reactor().spawn([](std::shared_ptr<State> s, Task<void> t) -> Task<void> {
            ++s->requests;
            co_await std::move(t);
            --s->requests;
        }(shared_from_this(), std::move(work)));
    }
    [[nodiscard]] struct stat attributes() const {
        struct stat st {};
        st.st_ino = FUSE_ROOT_ID;
        st.st_mode = static_cast<mode_t>(S_IFREG | (settings.writable ? S_IRUSR | S_IWUSR : S_IRUSR));
        st.st_nlink = 1;
        st.st_uid = uid;
        st.st_gid = gid;
        st.st_size = static_cast<off_t>(node->size());
        st.st_blocks = static_cast<blkcnt_t>(node->file() && node->file()->allocated_bytes() ? *node->file()->allocated_bytes() / 512 : node->size() / 512);
        st.st_blksize = 4096;
        st.st_atime = st.st_mtime = st.st_ctime = made;
        return st;
    }
    Task<Result<void>> grow(uint64_t size) {
        if (!settings.growable) co_return fail(ErrorKind::kInvalidArgument, "not growable", EFBIG);
        co_return co_await node->grow_to(size);
    }
};

namespace {

int error_of(const Result<void>& r) { return r ? 0 : std::max(errno_of(r.error()), 1); }

}  // namespace

// The file system's operations: the root is the only file.
namespace {

constexpr double kAttributeSeconds = 1.0;
constexpr unsigned kMostBytes = 1u << 20;

template <class T>
struct Operations {
    static T& of(fuse_req_t r) { return *static_cast<T*>(fuse_req_userdata(r)); }

    static void init(void*, fuse_conn_info* c) { c->max_read = kMostBytes; }  // as the mount option says
    static void lookup(fuse_req_t r, fuse_ino_t, const char*) { fuse_reply_err(r, ENOENT); }
    static void getattr(fuse_req_t r, fuse_ino_t, fuse_file_info*) {
        const struct stat st = of(r).attributes();
        fuse_reply_attr(r, &st, kAttributeSeconds);
    }
    static void setattr(fuse_req_t r, fuse_ino_t, struct stat* wanted, int which, fuse_file_info*) {
        T& s = of(r);
        constexpr int kIgnored = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME;
        if ((which & ~(FUSE_SET_ATTR_SIZE | kIgnored)) != 0) return void(fuse_reply_err(r, ENOTSUP));
        if (!(which & FUSE_SET_ATTR_SIZE)) return getattr(r, FUSE_ROOT_ID, nullptr);
        if (!s.settings.writable) return void(fuse_reply_err(r, EACCES));
        s.run([](T& st, fuse_req_t req, uint64_t size) -> Task<void> {
            const auto done = co_await st.node->truncate(size);
            if (!done) fuse_reply_err(req, error_of(done));
            else getattr(req, FUSE_ROOT_ID, nullptr);
        }(s, r, static_cast<uint64_t>(wanted->st_size)));
    }
    static void open(fuse_req_t r, fuse_ino_t, fuse_file_info* f) { fuse_reply_open(r, f); }
    static void read(fuse_req_t r, fuse_ino_t, size_t bytes, off_t offset, fuse_file_info*) {
        T& s = of(r);
        s.run([](T& st, fuse_req_t req, uint64_t at, size_t want) -> Task<void> {
            const std::unique_ptr<char[]> b = std::make_unique_for_overwrite<char[]>(std::max<size_t>(want, 1));
            size_t n;
            Result<void> done;
            do {
                n = at >= st.node->size() ? 0 : static_cast<size_t>(std::min<uint64_t>(want, st.node->size() - at));
                const IoVec into(b.get(), n);
                done = co_await st.node->read(at, into);
            } while (!done && at + n > st.node->size());  // it was made shorter meanwhile
            if (!done) fuse_reply_err(req, error_of(done));
            else fuse_reply_buf(req, b.get(), n);
        }(s, r, static_cast<uint64_t>(offset), bytes));
    }
    static void write(fuse_req_t r, fuse_ino_t, const char* from, size_t bytes, off_t offset, fuse_file_info*) {
        T& s = of(r);
        if (!s.settings.writable) return void(fuse_reply_err(r, EACCES));
        // The session's buffer is used again for the next request.
        s.run([](T& st, fuse_req_t req, uint64_t at, std::vector<char> data) -> Task<void> {
            Result<void> done;
            const IoVec v(data.data(), data.size());
            for (bool again = true; again;) {
                if (at + data.size() > st.node->size()) done = co_await st.grow(at + data.size());
                if (!done) break;
                done = co_await st.node->write(at, v);
                again = !done && at + data.size() > st.node->size();  // it was made shorter meanwhile
            }
            if (!done) fuse_reply_err(req, error_of(done));
            else fuse_reply_write(req, data.size());
        }(s, r, static_cast<uint64_t>(offset), std::vector<char>(from, from + bytes)));
    }
    static void fallocate(fuse_req_t r, fuse_ino_t, int mode, off_t offset, off_t length, fuse_file_info*) {
        T& s = of(r);
        if (!s.settings.writable) return void(fuse_reply_err(r, EACCES));
        s.run([](T& st, fuse_req_t req, int how, uint64_t at, uint64_t n) -> Task<void> {
            Result<void> done;
            const bool zero = how & FALLOC_FL_ZERO_RANGE, punch = how & FALLOC_FL_PUNCH_HOLE;
            if ((how & ~(FALLOC_FL_ZERO_RANGE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) != 0) done = fail(ErrorKind::kUnsupported, "fallocate", EOPNOTSUPP);
            else if (at + n > st.node->size() && !(how & FALLOC_FL_KEEP_SIZE)) done = co_await st.grow(at + n);
            for (bool again = true; again && done && (zero || punch) && at < st.node->size();) {
                const uint64_t most = std::min(n, st.node->size() - at);
                done = co_await st.node->write_zeroes(at, most, {.may_unmap = punch});
                again = !done && at + most > st.node->size();
                if (again) done = Result<void>{};
            }
            fuse_reply_err(req, error_of(done));
        }(s, r, mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
    }
    static void fsync(fuse_req_t r, fuse_ino_t, int, fuse_file_info*) { flush(r, 0, nullptr); }
    static void flush(fuse_req_t r, fuse_ino_t, fuse_file_info*) {
        T& s = of(r);
        s.run([](T& st, fuse_req_t req) -> Task<void> {
            const auto done = st.settings.writable ? co_await st.node->flush() : Result<void>{};
            fuse_reply_err(req, error_of(done));
        }(s, r));
    }
    static void lseek(fuse_req_t r, fuse_ino_t, off_t offset, int whence, fuse_file_info*) {
        T& s = of(r);
        if (whence != SEEK_DATA && whence != SEEK_HOLE) return void(fuse_reply_err(r, EINVAL));
        s.run([](T& st, fuse_req_t req, uint64_t at, bool data) -> Task<void> {
            const uint64_t size = st.node->size();
            if (at >= size) {
                fuse_reply_err(req, ENXIO);
                co_return;
            }
            while (at < size) {
                auto e = co_await block::status_above(*st.node, nullptr, at, size - at);
                if (!e) {
                    fuse_reply_err(req, EIO);
                    co_return;
                }
                if ((e->data && !e->zero) == data) break;
                at += e->length;
            }
            if (at >= size && data) fuse_reply_err(req, ENXIO);
            else fuse_reply_lseek(req, static_cast<off_t>(at));
        }(s, r, static_cast<uint64_t>(offset), whence == SEEK_DATA));
    }

    static fuse_lowlevel_ops table() {
        fuse_lowlevel_ops ops{};
        ops.init = init;
        ops.lookup = lookup;
        ops.getattr = getattr;
        ops.setattr = setattr;
        ops.open = open;
        ops.read = read;
        ops.write = write;
        ops.fallocate = fallocate;
        ops.fsync = fsync;
        ops.flush = flush;
        ops.lseek = lseek;
        return ops;
    }

    static Task<void> listen(std::shared_ptr<T> s) {
        fuse_buf buffer{};
        const int fd = fuse_session_fd(s->session);
        while (!fuse_session_exited(s->session)) {
            const int n = fuse_session_receive_buf(s->session, &buffer);
            if (n == -EAGAIN || n == -EINTR) {
                co_await s->node->reactor().poll(fd, POLLIN);
                continue;
            }
            if (n <= 0) break;
            fuse_session_process_buf(s->session, &buffer);
        }
        std::free(buffer.mem);
        s->ended = true;
    }
};

}  // namespace

bool FuseExport::open_session(State& s, const std::string& where, bool others) {
    using Ops = Operations<State>;
    const fuse_lowlevel_ops ops = Ops::table();
    std::vector<std::string> words{"", "-o", std::string("fsname=myna,nosuid,nodev,noatime,max_read=") + std::to_string(kMostBytes) + ",default_permissions" + (others ? ",allow_other" : "")};
    std::vector<char*> argv;
    for (auto& w : words) argv.push_back(w.data());
    fuse_args args = FUSE_ARGS_INIT(static_cast<int>(argv.size()), argv.data());
    s.session = fuse_session_new(&args, &ops, sizeof ops, &s);
    if (s.session == nullptr) return false;
    if (fuse_session_mount(s.session, where.c_str()) == 0) return s.mounted = true;
    fuse_session_destroy(s.session);
    s.session = nullptr;
    return false;
}

std::unique_ptr<FuseExport> FuseExport::begin(std::shared_ptr<State> s) {
    const int fd = fuse_session_fd(s->session);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    s->node->reactor().spawn(Operations<State>::listen(s));
    return std::unique_ptr<FuseExport>(new FuseExport(std::move(s)));
}

Result<std::unique_ptr<FuseExport>> FuseExport::mount(block::NodePtr node, const FuseSettings& given) {
    struct stat st {};
    if (stat(given.mountpoint.c_str(), &st) != 0) return fail_errno(errno, "Failed to stat '" + given.mountpoint + "'");
    if (!S_ISREG(st.st_mode)) return fail(ErrorKind::kInvalidArgument, "'" + given.mountpoint + "' is not a regular file");
    auto s = std::make_shared<State>();
    s->node = std::move(node);
    s->settings = given;
    using Allow = FuseSettings::AllowOther;
    if (!(given.allow_other != Allow::kOff && open_session(*s, given.mountpoint, true)) && !(given.allow_other != Allow::kOn && open_session(*s, given.mountpoint, false)))
        return fail(ErrorKind::kPermission, "Failed to mount FUSE session to export");
    return begin(std::move(s));
}

Result<std::unique_ptr<FuseExport>> FuseExport::attach(block::NodePtr node, const FuseSettings& given, int device) {
    auto s = std::make_shared<State>();
    s->node = std::move(node);
    s->settings = given;
    if (!open_session(*s, "/dev/fd/" + std::to_string(device), false)) return fail(ErrorKind::kInvalidArgument, "no FUSE session could be made");
    return begin(std::move(s));
}

FuseExport::~FuseExport() = default;

Task<void> FuseExport::unmount() {
    State& s = *state_;
    if (s.mounted) {
        fuse_session_exit(s.session);
        fuse_session_unmount(s.session);
        s.mounted = false;
    }
    while (s.requests > 0) co_await s.node->reactor().sleep(std::chrono::milliseconds(5));
}

}  // namespace myna::tools::storage
