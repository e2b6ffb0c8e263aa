// read, write, readv, writev, their asynchronous twins, discard.
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "base/bits.h"
#include "tools/io/tool.h"

namespace myna::tools::io_tool {

using io::IoVec;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int64_t kLongest = 0x7ffffe00;  // of one request: what the documented tool takes
constexpr uint8_t kReadFill = 0xab, kWriteFill = 0xcd;

/// An aligned buffer; with -m it begins 16 bytes behind the alignment.
class Buffer {
  public:
    Buffer(const Shell& s, size_t bytes, uint8_t fill) : bytes_(bytes), skip_(s.misalign ? 16 : 0) {
        memory_ = static_cast<uint8_t*>(std::aligned_alloc(4096, align_up(std::max<size_t>(bytes + skip_, 1), 4096)));
        if (memory_ == nullptr) throw std::bad_alloc();
        std::memset(memory_, fill, bytes + skip_);
    }
    ~Buffer() { std::free(memory_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    [[nodiscard]] uint8_t* data() const noexcept { return memory_ + skip_; }
    [[nodiscard]] std::span<uint8_t> bytes() const noexcept { return {data(), bytes_}; }

  private:
    uint8_t* memory_;
    size_t bytes_, skip_;
};

int failed(const char* what, const Error& e) {
    std::printf("%s failed: %s\n", what, std::strerror(errno_of(e)));
    return -1;
}

/// The documented tool gives EIO for what is outside the image.
Result<void> inside(const Shell& s, uint64_t offset, uint64_t length) {
    if (offset <= s.node->size() && length <= s.node->size() - offset) return {};
    return fail(ErrorKind::kIo, "outside the image", EIO);
}

bool matches(std::span<const uint8_t> bytes, uint8_t value) {
    for (const uint8_t b : bytes)
        if (b != value) return false;
    return true;
}

/// Offset and length(s) behind the options; false after a message.
struct Range {
    int64_t offset = 0, total = 0;
    std::vector<int64_t> parts;
};
bool take_range(const Words& w, Range& out) {
    const auto at = number(w.rest[0]);
    if (!at) return false;
    out.offset = *at;
    for (size_t i = 1; i < w.rest.size(); ++i) {
        const auto n = number(w.rest[i]);
        if (!n) return false;
        if (*n > kLongest || out.total + *n > kLongest) {
            std::printf("length cannot exceed %lld, given %s\n", static_cast<long long>(kLongest), w.rest[i].c_str());
            return false;
        }
        out.parts.push_back(*n);
        out.total += *n;
    }
    return true;
}

Task<Result<void>> read_into(Shell& s, const Range& r, const Buffer& b) {
    if (auto ok = inside(s, static_cast<uint64_t>(r.offset), b.bytes().size()); !ok) co_return ok;
    IoVec v;
    size_t at = 0;
    for (const int64_t n : r.parts) {
        v.add(b.data() + at, static_cast<size_t>(n));
        at += static_cast<size_t>(n);
    }
    co_return co_await s.node->read(static_cast<uint64_t>(r.offset), v);
}

/// VM states are asked for by sectors; false after a message.
bool whole_sectors(const Range& r) {
    if (r.offset % 512 != 0) std::printf("%lld is not a sector-aligned value for 'offset'\n", static_cast<long long>(r.offset));
    else if (r.total % 512 != 0) std::printf("%lld is not a sector-aligned value for 'count'\n", static_cast<long long>(r.total));
    else return true;
    return false;
}

Task<Result<void>> vm_state(Shell& s, const Range& r, const Buffer& b, bool write) {
    const IoVec v(b.data(), static_cast<size_t>(r.total));
    const auto at = static_cast<uint64_t>(r.offset);
    co_return write ? co_await s.node->write_vm_state(at, v) : co_await s.node->read_vm_state(at, v);
}

/// Shows what was read. Gives -1 when a pattern was asked for and is not there.
int show_read(const Words& w, const Range& r, const Buffer& b, std::chrono::nanoseconds took, int64_t from, int64_t length) {
    int result = 0;
    if (w.has('P')) {
        const auto value = pattern(w.get('P'));
        if (!matches(b.bytes().subspan(static_cast<size_t>(from), static_cast<size_t>(length)), *value)) {
            std::printf("Pattern verification failed at offset %lld, %lld bytes\n", static_cast<long long>(r.offset + from), static_cast<long long>(length));
            result = -1;
        }
    }
    if (w.has('q')) return result;
    if (w.has('v')) dump(b.bytes(), static_cast<uint64_t>(r.offset));
    report("read", took, static_cast<uint64_t>(r.offset), static_cast<uint64_t>(r.total), static_cast<uint64_t>(r.total), 1, w.has('C'));
    return result;
}

Task<int> read(Shell& s, const Command& c, Words& w) {
    int64_t from = 0;
    std::optional<int64_t> length;
    if (w.has('l') && !(length = number(w.get('l')))) co_return -1;
    if (w.has('P') && !pattern(w.get('P'))) co_return -1;
    if (w.has('s')) {
        const auto n = number(w.get('s'));
        if (!n) co_return -1;
        from = *n;
    }
    if (w.rest.size() != 2) co_return usage(c);
    Range r;
    if (!take_range(w, r)) co_return -1;
    if (!w.has('P') && (w.has('l') || w.has('s'))) co_return usage(c);
    if (!length) length = r.total - from;
    if (*length < 0 || *length + from > r.total) {
        std::printf("pattern verification range exceeds end of read data\n");
        co_return -1;
    }
    if (w.has('b') && !whole_sectors(r)) co_return -1;
    const Buffer b(s, static_cast<size_t>(r.total), kReadFill);
    const auto start = Clock::now();
    if (auto ok = w.has('b') ? co_await vm_state(s, r, b, false) : co_await read_into(s, r, b); !ok) co_return failed("read", ok.error());
    co_return show_read(w, r, b, Clock::now() - start, from, *length);
}

Task<int> readv(Shell& s, const Command& c, Words& w) {
    if (w.has('P') && !pattern(w.get('P'))) co_return -1;
    if (w.rest.size() < 2) co_return usage(c);
    Range r;
    if (!take_range(w, r)) co_return -1;
    const Buffer b(s, static_cast<size_t>(r.total), kReadFill);
    const auto start = Clock::now();
    if (auto ok = co_await read_into(s, r, b); !ok) co_return failed("readv", ok.error());
    co_return show_read(w, r, b, Clock::now() - start, 0, r.total);
}

/// Fills `b` by repeating the file's bytes.
bool fill_from_file(const std::string& name, const Buffer& b) {
    std::ifstream in(name, std::ios::binary);
    if (!in) {
        std::fprintf(stderr, "%s: %s\n", name.c_str(), std::strerror(errno));
        return false;
    }
    std::vector<char> data(b.bytes().size());
    in.read(data.data(), static_cast<std::streamsize>(data.size()));
    const auto have = static_cast<size_t>(in.gcount());
    if (have == 0) {
        std::fprintf(stderr, "%s: file is empty\n", name.c_str());
        return false;
    }
    for (size_t i = 0; i < data.size(); ++i) b.data()[i] = static_cast<uint8_t>(data[i % have]);
    return true;
}

Task<Result<void>> write_from(Shell& s, const Words& w, const Range& r, const Buffer* b) {
    const auto at = static_cast<uint64_t>(r.offset);
    if (auto ok = inside(s, at, static_cast<uint64_t>(r.total)); !ok) co_return ok;
    block::WriteFlags flags{.fua = w.has('f'), .compressed = w.has('c'), .may_unmap = w.has('u'), .no_fallback = w.has('n')};
    if (w.has('z')) {
        flags.compressed = false;
        co_return co_await s.node->write_zeroes(at, static_cast<uint64_t>(r.total), flags);
    }
    IoVec v;
    size_t done = 0;
    for (const int64_t n : r.parts) {
        v.add(b->data() + done, static_cast<size_t>(n));
        done += static_cast<size_t>(n);
    }
    co_return co_await s.node->write(at, v, flags);
}

void show_write(const Words& w, const Range& r, std::chrono::nanoseconds took) {
    if (!w.has('q')) report("wrote", took, static_cast<uint64_t>(r.offset), static_cast<uint64_t>(r.total), static_cast<uint64_t>(r.total), 1, w.has('C'));
}

int conflict(const char* text) {
    std::printf("%s\n", text);
    return -1;
}

Task<int> write(Shell& s, const Command& c, Words& w) {
    uint8_t fill = kWriteFill;
    if (w.has('P')) {
        const auto p = pattern(w.get('P'));
        if (!p) co_return -1;
        fill = *p;
    }
    if (w.rest.size() != 2) co_return usage(c);
    if (w.has('b') && w.has('z')) co_return conflict("-b and -z cannot be specified at the same time");
    if (w.has('f') && (w.has('b') || w.has('c'))) co_return conflict("-f and -b or -c cannot be specified at the same time");
    if (w.has('n') && !w.has('z')) co_return conflict("-n requires -z to be specified");
    if (w.has('u') && !w.has('z')) co_return conflict("-u requires -z to be specified");
    if (w.has('z') + w.has('P') + w.has('s') > 1) co_return conflict("Only one of -z, -P, and -s can be specified at the same time");
    Range r;
    if (!take_range(w, r) || (w.has('b') && !whole_sectors(r))) co_return -1;
    std::optional<Buffer> b;
    if (!w.has('z')) {
        b.emplace(s, static_cast<size_t>(r.total), fill);
        if (w.has('s') && !fill_from_file(w.get('s'), *b)) co_return -1;
    }
    const auto start = Clock::now();
    if (auto ok = w.has('b') ? co_await vm_state(s, r, *b, true) : co_await write_from(s, w, r, b ? &*b : nullptr); !ok) co_return failed("write", ok.error());
    show_write(w, r, Clock::now() - start);
    co_return 0;
}

Task<int> writev(Shell& s, const Command& c, Words& w) {
    uint8_t fill = kWriteFill;
    if (w.has('P')) {
        const auto p = pattern(w.get('P'));
        if (!p) co_return -1;
        fill = *p;
    }
    if (w.rest.size() < 2) co_return usage(c);
    Range r;
    if (!take_range(w, r)) co_return -1;
    const Buffer b(s, static_cast<size_t>(r.total), fill);
    const auto start = Clock::now();
    if (auto ok = co_await write_from(s, w, r, &b); !ok) co_return failed("writev", ok.error());
    show_write(w, r, Clock::now() - start);
    co_return 0;
}

Task<void> read_later(Shell& s, Words w, Range r) {
    const Buffer b(s, static_cast<size_t>(r.total), kReadFill);
    const auto start = Clock::now();
    if (auto ok = co_await read_into(s, r, b); !ok) failed("readv", ok.error());
    else show_read(w, r, b, Clock::now() - start, 0, r.total);
    s.idle.release();
}

Task<void> write_later(Shell& s, Words w, Range r, uint8_t fill) {
    std::optional<Buffer> b;
    if (!w.has('z')) b.emplace(s, static_cast<size_t>(r.total), fill);
    const auto start = Clock::now();
    if (auto ok = co_await write_from(s, w, r, b ? &*b : nullptr); !ok) failed("aio_write", ok.error());
    else show_write(w, r, Clock::now() - start);
    s.idle.release();
}

Task<int> aio_read(Shell& s, const Command& c, Words& w) {
    if (w.has('P') && !pattern(w.get('P'))) co_return -1;
    if (w.has('i')) co_return 0;  // only counts as invalid in statistics, which there are none of here
    if (w.rest.size() < 2) co_return usage(c);
    Range r;
    if (!take_range(w, r)) co_return 0;
    co_await s.idle.acquire();
    s.reactor.spawn(read_later(s, w, r));
    co_return 0;
}

Task<int> aio_write(Shell& s, const Command& c, Words& w) {
    uint8_t fill = kWriteFill;
    if (w.has('P')) {
        const auto p = pattern(w.get('P'));
        if (!p) co_return -1;
        fill = *p;
    }
    if (w.has('i')) co_return 0;
    if (w.rest.size() < 2) co_return usage(c);
    if (w.has('z') && w.rest.size() != 2) co_return conflict("-z supports only a single length parameter");
    if (w.has('u') && !w.has('z')) co_return conflict("-u requires -z to be specified");
    Range r;
    if (!take_range(w, r)) co_return 0;
    co_await s.idle.acquire();
    s.reactor.spawn(write_later(s, w, r, fill));
    co_return 0;
}

Task<int> aio_flush(Shell& s, const Command&, Words&) {
    co_await s.drain();
    co_return 0;
}

Task<int> discard(Shell& s, const Command& c, Words& w) {
    if (w.rest.size() != 2) co_return usage(c);
    Range r;
    if (!take_range(w, r)) co_return -1;
    const auto start = Clock::now();
    auto ok = inside(s, static_cast<uint64_t>(r.offset), static_cast<uint64_t>(r.total));
    if (ok) ok = co_await s.node->discard(static_cast<uint64_t>(r.offset), static_cast<uint64_t>(r.total));
    if (!ok) co_return failed("discard", ok.error());
    if (!w.has('q'))
        report("discard", Clock::now() - start, static_cast<uint64_t>(r.offset), static_cast<uint64_t>(r.total), static_cast<uint64_t>(r.total), 1, w.has('C'));
    co_return 0;
}

Task<int> flush(Shell& s, const Command&, Words&) {
    auto ok = co_await s.node->flush();
    co_return ok ? 0 : -1;
}

constexpr std::array kTransferCommands{
    Command{"aio_flush", "", "", 0, 0, "", "waits for all asynchronous requests", "", true, false, aio_flush},
    Command{"aio_read", "", "CiP:qv", 2, -1, "[-Ciqv] [-P pattern] off len [len..]", "reads without waiting for it",
            " -C  figures for machines\n -P  what every byte read must be\n -i  a request that only counts as invalid\n -v  dump what was read\n -q  no figures\n"
            "Failures and mismatches are printed and do not make the command fail.\n", true, false, aio_read},
    Command{"aio_write", "", "CfiP:quz", 2, -1, "[-Cfiquz] [-P pattern] off len [len..]", "writes without waiting for it",
            " -P  the byte to write (default 0xcd)\n -C  figures for machines\n -f  stable when it ends (FUA)\n -i  a request that only counts as invalid\n"
            " -q  no figures\n -u  with -z: unmapping is as good\n -z  write zeroes\n", true, true, aio_write},
    Command{"discard", "d", "Cq", 2, -1, "[-Cq] off len", "gives bytes back", " -C  figures for machines\n -q  no figures\n", true, true, discard},
    Command{"flush", "f", "", 0, 0, "", "makes everything written stable", "", true, false, flush},
    Command{"read", "r", "bCl:pP:qs:v", 2, -1, "[-abCqv] [-P pattern [-s off] [-l len]] off len", "reads bytes",
            " -b  from the VM state\n -C  figures for machines\n -l  how many bytes -P is about\n -p  ignored\n -P  what every byte read must be\n"
            " -q  no figures\n -s  where the bytes begin that -P is about\n -v  dump what was read\n", true, false, read},
    Command{"readv", "", "CP:qv", 2, -1, "[-Cqv] [-P pattern] off len [len..]", "reads bytes into several buffers",
            " -C  figures for machines\n -P  what every byte read must be\n -v  dump what was read\n -q  no figures\n", true, false, readv},
    Command{"write", "w", "bcCfnpP:qs:uz", 2, -1, "[-bcCfnquz] [-P pattern | -s source_file] off len", "writes bytes",
            " -b  to the VM state\n -c  compressed\n -f  stable when it ends (FUA)\n -n  with -z: fail rather than write zero bytes\n -p  ignored\n"
            " -P  the byte to write (default 0xcd)\n -s  a file whose bytes to write, again and again\n -C  figures for machines\n -q  no figures\n"
            " -u  with -z: unmapping is as good\n -z  write zeroes\n", true, true, write},
    Command{"writev", "", "CfP:q", 2, -1, "[-Cfq] [-P pattern] off len [len..]", "writes bytes from several buffers",
            " -P  the byte to write (default 0xcd)\n -C  figures for machines\n -f  stable when it ends (FUA)\n -q  no figures\n", true, true, writev},
};

}  // namespace

std::span<const Command> transfer_commands() noexcept { return kTransferCommands; }

}  // namespace myna::tools::io_tool
