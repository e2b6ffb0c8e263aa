#include "jit/log.h"

#include <elf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace myna::jit {

bool LogSink::on(uint32_t item, uint64_t pc) const noexcept {
    return on(item) && (ranges_.empty() || std::ranges::any_of(ranges_, [pc](const AddressRange& r) { return r.first <= pc && pc <= r.last; }));
}

void LogSink::write(std::string_view text) const {
    while (!text.empty()) {
        const ssize_t n = ::write(fd_, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        text.remove_prefix(static_cast<size_t>(n));
    }
}

namespace {

// The jitdump format: linux/tools/perf/Documentation/jitdump-specification.txt.
struct DumpHeader {
    uint32_t magic = 0x4A695444, version = 1, size = 40, machine = EM_X86_64, pad = 0, pid;
    uint64_t timestamp, flags = 0;
};
static_assert(sizeof(DumpHeader) == 40);
struct DumpLoad {
    uint32_t id = 0, size;  // JIT_CODE_LOAD
    uint64_t timestamp;
    uint32_t pid, tid;
    uint64_t vma, address, code_size, index;
};
static_assert(sizeof(DumpLoad) == 56);

uint64_t monotonic_ns() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(t.tv_nsec);
}

}  // namespace

PerfRecorder::~PerfRecorder() {
    if (map_ != nullptr) std::fclose(map_);
    if (dump_ != nullptr) std::fclose(dump_);
    if (marker_ != nullptr) munmap(marker_, 4096);
}

Result<void> PerfRecorder::open(bool map, bool dump) {
    char name[64];
    if (map) {
        std::snprintf(name, sizeof name, "/tmp/perf-%d.map", getpid());
        map_ = std::fopen(name, "w");
        if (map_ == nullptr) return fail_errno(errno, name);
    }
    if (dump) {
        std::snprintf(name, sizeof name, "jit-%d.dump", getpid());
        dump_ = std::fopen(name, "w+");
        if (dump_ == nullptr) return fail_errno(errno, name);
        void* m = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fileno(dump_), 0);
        if (m != MAP_FAILED) marker_ = m;
        DumpHeader h{};
        h.pid = static_cast<uint32_t>(getpid());
        h.timestamp = monotonic_ns();
        std::fwrite(&h, sizeof h, 1, dump_);
    }
    return {};
}

void PerfRecorder::add(uint64_t host, uint32_t bytes, const void* code, uint64_t guest_pc) {
    char name[40];
    const auto len = static_cast<uint32_t>(std::snprintf(name, sizeof name, "guest_%llx", static_cast<unsigned long long>(guest_pc)));
    if (map_ != nullptr) {
        std::fprintf(map_, "%llx %x %s\n", static_cast<unsigned long long>(host), bytes, name);
        std::fflush(map_);
    }
    if (dump_ != nullptr) {
        DumpLoad l{};
        l.size = static_cast<uint32_t>(sizeof l) + len + 1 + bytes;
        l.timestamp = monotonic_ns();
        l.pid = static_cast<uint32_t>(getpid());
        l.tid = static_cast<uint32_t>(syscall(SYS_gettid));
        l.vma = l.address = host;
        l.code_size = bytes;
        l.index = index_++;
        std::fwrite(&l, sizeof l, 1, dump_);
        std::fwrite(name, len + 1, 1, dump_);
        std::fwrite(code, bytes, 1, dump_);
        std::fflush(dump_);
    }
}

}  // namespace myna::jit
