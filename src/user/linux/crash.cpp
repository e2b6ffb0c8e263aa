#include "user/linux/crash.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "guest/decode_tables.h"
#include "user/linux/syscalls/table.h"

namespace myna::user {

namespace {

#ifndef MYNA_VERSION
#define MYNA_VERSION "0.1.0"
#endif

template <typename... Args>
void add(std::string& to, const char* format, Args... args) {
    char line[512];
    std::snprintf(line, sizeof line, format, args...);
    to += line;
}

/// The symbol at `vaddr` in an ELF file of 64 bits: "name+0x10", "" when it has none. Damaged files have none.
std::string symbol_in(const uint8_t* file, size_t size, uint64_t offset) {
    if (size < sizeof(Elf64_Ehdr)) return "";
    Elf64_Ehdr e;
    std::memcpy(&e, file, sizeof e);
    if (std::memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_shentsize != sizeof(Elf64_Shdr)) return "";
    uint64_t vaddr = offset;
    for (unsigned i = 0; i < e.e_phnum; ++i) {
        Elf64_Phdr p;
        if (e.e_phoff > size || (size - e.e_phoff) / sizeof p <= i) return "";
        std::memcpy(&p, file + e.e_phoff + i * sizeof p, sizeof p);
        if (p.p_type == PT_LOAD && offset >= p.p_offset && offset < p.p_offset + p.p_filesz) vaddr = offset - p.p_offset + p.p_vaddr;
    }
    std::string best;
    uint64_t best_value = 0;
    for (unsigned i = 0; i < e.e_shnum; ++i) {
        Elf64_Shdr s, strings;
        if (e.e_shoff > size || (size - e.e_shoff) / sizeof s <= i) return best;
        std::memcpy(&s, file + e.e_shoff + i * sizeof s, sizeof s);
        if ((s.sh_type != SHT_SYMTAB && s.sh_type != SHT_DYNSYM) || s.sh_link >= e.e_shnum || (size - e.e_shoff) / sizeof s <= s.sh_link) continue;
        std::memcpy(&strings, file + e.e_shoff + s.sh_link * sizeof s, sizeof strings);
        if (s.sh_offset > size || s.sh_size > size - s.sh_offset || strings.sh_offset > size || strings.sh_size > size - strings.sh_offset) continue;
        for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= s.sh_size; at += sizeof(Elf64_Sym)) {
            Elf64_Sym y;
            std::memcpy(&y, file + s.sh_offset + at, sizeof y);
            const unsigned type = ELF64_ST_TYPE(y.st_info);
            if ((type != STT_FUNC && type != STT_NOTYPE) || y.st_shndx == SHN_UNDEF || y.st_value > vaddr || y.st_value < best_value || y.st_name >= strings.sh_size) continue;
            if (y.st_size != 0 && vaddr >= y.st_value + y.st_size) continue;
            const auto* name = reinterpret_cast<const char*>(file + strings.sh_offset + y.st_name);
            const size_t length = strnlen(name, strings.sh_size - y.st_name);
            if (length == 0 || name[0] == '$') continue;  // mapping symbols
            best.assign(name, length);
            best_value = y.st_value;
        }
    }
    if (!best.empty()) add(best, "+0x%" PRIx64, vaddr - best_value);
    return best;
}

std::string symbol_of(const std::string& path, uint64_t offset) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat s{};
    if (fd < 0 || fstat(fd, &s) != 0 || s.st_size <= 0) {
        if (fd >= 0) close(fd);
        return "";
    }
    const auto size = static_cast<size_t>(s.st_size);
    void* file = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (file == MAP_FAILED) return "";
    std::string symbol = symbol_in(static_cast<const uint8_t*>(file), size, offset);
    munmap(file, size);
    return symbol;
}

/// "symbol+0x4 (/usr/lib/libc.so.6+0x7a120)", or what else is known of a guest address.
std::string place(Thread& t, uint64_t addr) {
    if (t.memory.prot_at(addr) < 0) return "not mapped";
    const uint64_t host = addr + t.memory.base();
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        uint64_t start = 0, end = 0, offset = 0;
        int name = 0;
        if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*s %" SCNx64 " %*s %*s %n", &start, &end, &offset, &name) < 3) continue;
        if (host < start || host >= end) continue;
        const std::string path = name > 0 && static_cast<size_t>(name) < line.size() ? line.substr(static_cast<size_t>(name)) : "";
        if (path.empty() || path[0] != '/') return path.empty() ? "memory without a file" : path;
        std::string out = symbol_of(path, offset + (host - start));
        if (!out.empty()) out += ' ';
        add(out, "(%s+0x%" PRIx64 ")", path.c_str(), offset + (host - start));
        return out;
    }
    return "mapped";
}

void add_instruction(Thread& t, std::string& out, bool illegal) {
    uint8_t bytes[4] = {};
    const uint64_t pc = t.pc();
    size_t n = 4;
    if (t.memory.copy_in(bytes, pc, 4) != 0) n = t.memory.copy_in(bytes, pc, 2) == 0 ? 2 : 0;
    if (n == 0) return;
    const auto insn = guest::describe_insn(*t.abi.arch, t.process.cpu, pc, {bytes, n});
    add(out, "  instruction  %0*x  %s\n", static_cast<int>(insn.length * 2), insn.raw, insn.text.empty() ? "(no instruction that Myna knows)" : insn.text.c_str());
    if (!illegal || insn.text.empty() || insn.enabled || insn.feature.empty()) return;
    // The richest CPU has all that is emulated.
    const auto max = t.abi.arch->parse_cpu("max");
    const bool there = max && guest::describe_insn(*t.abi.arch, *max, pc, {bytes, n}).enabled;
    add(out, "  missing      %s: the CPU '%s' does not have it; %s\n", insn.feature.c_str(), t.process.cpu.model.c_str(),
        there ? "'-cpu max' (the default) does" : "no '-cpu' has it yet");
}

void add_calls(Thread& t, std::string& out) {
    const SyscallTable& table = *t.abi.syscalls;
    out += "  last system calls, the latest last:\n";
    for (unsigned i = 0; i < Thread::kRecordedCalls; ++i) {
        const Thread::CallRecord& c = t.calls[(t.next_call + i) % Thread::kRecordedCalls];
        if (!c.made) continue;
        const char* name = c.number < table.count && table.rows[c.number].name != nullptr ? table.rows[c.number].name : "?";
        add(out, "    %s(0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 ", 0x%" PRIx64 ")", name, c.args[0], c.args[1], c.args[2], c.args[3]);
        if (c.result < 0 && c.result > -4096) add(out, " = -1 %s\n", strerrorname_np(static_cast<int>(-c.result)) != nullptr ? strerrorname_np(static_cast<int>(-c.result)) : "?");
        else add(out, " = 0x%" PRIx64 "\n", static_cast<uint64_t>(c.result));
    }
}

}  // namespace

void report_crash(Thread& t, const siginfo_t& info) {
    Process& p = t.process;
    const bool asked = (p.options.engine.log & kLogCrash) != 0;
    if (!asked && (p.options.strace || isatty(2) == 0)) return;
    const int sig = info.si_signo;
    const char* name = sigabbrev_np(sig);
    std::string out = "\n";
    add(out, "%s: %s died by SIG%s (%s), process %d, thread %d\n", p.options.called.c_str(), p.exe.c_str(), name != nullptr ? name : "?", sigdescr_np(sig), static_cast<int>(getpid()), static_cast<int>(gettid()));
    add(out, "  at           0x%" PRIx64 "  %s\n", t.pc(), place(t, t.pc()).c_str());
    if (sig == SIGSEGV || sig == SIGBUS) {
        const auto at = reinterpret_cast<uint64_t>(info.si_addr);
        add(out, "  accessing    0x%" PRIx64 "  %s%s\n", at, place(t, at).c_str(), t.memory.prot_at(at) >= 0 ? ", which does not allow it" : "");
    }
    add_instruction(t, out, sig == SIGILL);
    const uint64_t link = p.abi.arch->name == "aarch64" ? t.reg(static_cast<uint16_t>(sizeof(guest::VcpuHeader) + 30 * 8)) : t.reg(static_cast<uint16_t>(sizeof(guest::VcpuHeader) + 8));
    add(out, "  called from  0x%" PRIx64 "  %s\n", link, place(t, link).c_str());
    out += p.abi.arch->dump(t.state);
    add_calls(t, out);
    add(out, "  Myna %s, guest %s, -cpu %s. More: -d strace,unimp; -g PORT waits for gdb.\n", MYNA_VERSION, std::string(p.abi.arch->name).c_str(), p.cpu.model.c_str());
    host_syscall(SYS_write, static_cast<uint64_t>(p.log_fd), arg(out.data()), out.size());
}

}  // namespace myna::user
