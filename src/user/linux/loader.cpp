#include "user/linux/loader.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/bits.h"
#include "user/linux/vdso.h"

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

namespace myna::user {

namespace {

constexpr uint64_t kPieBase47 = 0x2aaa'aaaa'a000, kPieBase39 = 0x2a'aaaa'a000;

size_t read_fully(int fd, void* to, size_t n, uint64_t offset) {
    size_t done = 0;
    while (done < n) {
        const ssize_t r = pread(fd, static_cast<char*>(to) + done, n - done, static_cast<off_t>(offset + done));
        if (r <= 0) break;
        done += static_cast<size_t>(r);
    }
    return done;
}

struct Mapped {
    uint64_t bias = 0, entry = 0, phdr = 0, end = 0;
};

std::unexpected<Error> no_room(const ProgramFile& f, int64_t err) {
    return fail_errno(static_cast<int>(-err), f.path + ": cannot map the program");
}

Result<void> map_segment(Process& p, const ProgramFile& f, const ElfSegment& s, uint64_t bias) {
    const uint64_t start = align_down(s.vaddr + bias, kPage);
    const uint64_t file_end = s.vaddr + bias + s.filesz, mem_end = s.vaddr + bias + s.memsz;
    if (s.filesz != 0) {
        const uint64_t offset = s.offset - (s.vaddr + bias - start);
        const int64_t r = p.memory.mmap(start, file_end - start, s.prot, MAP_PRIVATE | MAP_FIXED, f.fd, offset);
        if (r < 0) return no_room(f, r);
    }
    const uint64_t file_top = s.filesz != 0 ? align_up(file_end, kPage) : start;
    if (mem_end > file_top) {
        const int64_t r = p.memory.mmap(file_top, mem_end - file_top, s.prot, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
        if (r < 0) return no_room(f, r);
    }
    // The rest of the file's last page is zero to its end: ld.so's first malloc takes what bss leaves of it.
    if (mem_end > file_end && file_end < file_top && (s.prot & PROT_WRITE) != 0) {
        static constexpr char kZero[kPage] = {};
        p.memory.copy_out(file_end, kZero, file_top - file_end);
    }
    return {};
}

Result<Mapped> map_image(Process& p, const ProgramFile& f, uint64_t wanted) {
    const ElfImage& e = f.elf;
    const uint64_t size = e.high() - e.low();
    Mapped m;
    // The whole range first, so that nothing comes to lie between segments.
    int64_t at;
    if (e.position_independent) {
        const uint64_t align = e.max_align();
        uint64_t hint = wanted != 0 ? align_up(wanted, align) : 0;
        at = p.memory.mmap(hint, size + (hint != 0 ? 0 : align), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (at < 0) return no_room(f, at);
        const uint64_t base = align_up(static_cast<uint64_t>(at), align);
        if (hint == 0) {  // give back what alignment left over
            if (base > static_cast<uint64_t>(at)) p.memory.munmap(static_cast<uint64_t>(at), base - static_cast<uint64_t>(at));
            if (base + size < static_cast<uint64_t>(at) + size + align)
                p.memory.munmap(base + size, static_cast<uint64_t>(at) + align - base);
        }
        m.bias = base - e.low();
    } else {
        at = p.memory.mmap(e.low(), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (at < 0) return no_room(f, at);
    }
    for (const ElfSegment& s : e.segments)
        if (auto r = map_segment(p, f, s, m.bias); !r) return std::unexpected(r.error());
    m.entry = e.entry + m.bias;
    m.phdr = e.phdr_vaddr != 0 ? e.phdr_vaddr + m.bias : 0;
    m.end = e.high() + m.bias;
    return m;
}

Result<ProgramFile> open_interpreter(Process& p, const ProgramFile& program) {
    const std::string& name = program.elf.interpreter;
    const auto try_prefix = [&](const std::string& prefix) {
        p.sysroot.set(prefix);
        char buffer[PATH_MAX];
        return std::string(p.sysroot.map(name.c_str(), buffer));
    };
    std::string path = try_prefix(p.sysroot.prefix());
    bool guessed = false;
    auto r = open_program(path);
    const auto fits = [&](const Result<ProgramFile>& i) {
        return i && i->elf.machine == program.elf.machine && i->elf.elf_class == program.elf.elf_class && i->elf.big_endian == program.elf.big_endian;
    };
    if (!fits(r) && !p.sysroot.active()) {
        // Where QEMU's configuration and Debian's cross compilers have foreign libraries.
        const std::string arch(p.abi.machine);
        for (const std::string& prefix : {"/etc/qemu-binfmt/" + arch, "/usr/gnemul/qemu-" + arch, std::string("/usr/") + p.abi.triplet}) {
            if (access((prefix + name).c_str(), R_OK) != 0) continue;
            if (r) close(r->fd);
            r = open_program(try_prefix(prefix));
            guessed = true;
            break;
        }
        if (!guessed) p.sysroot.set("");
    }
    if (!r) {
        if (r.error().sys_errno == ENOENT)
            return fail(ErrorKind::kNotFound,
                        program.path + ": its interpreter " + name + " is not here.\n  Give the folder of the program's own system with -L, "
                        "as in: " + p.options.called + " -L /usr/" + p.abi.triplet + " " + program.path, ENOENT);
        return r;
    }
    if (!fits(r))
        return fail(ErrorKind::kCorrupt, path + ": this interpreter is for " +
                    elf_machine_name(r->elf.machine, r->elf.elf_class, r->elf.big_endian) + ", the program is for " +
                    elf_machine_name(program.elf.machine, program.elf.elf_class, program.elf.big_endian) +
                    ".\n  Give the folder of the program's own system with -L.");
    return r;
}

Result<void> map_vdso(Process& p) {
    const std::vector<uint8_t> image = build_vdso(p.abi);
    const int64_t at = p.memory.mmap(0, kVdsoSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at < 0) return fail_errno(static_cast<int>(-at), "cannot map the vDSO");
    const auto start = static_cast<uint64_t>(at);
    p.memory.copy_out(start, image.data(), image.size());
    p.memory.mprotect(start, kVdsoClock, PROT_READ | PROT_EXEC);
    p.memory.vdso_start = start;
    p.vdso_clock = p.memory.host<VdsoClock>(start + kVdsoClock);
    p.vdso_sigreturn = start + kVdsoCode + p.abi.vdso.sigreturn;
    return {};
}

uint64_t stack_bytes(const Process& p) {
    constexpr uint64_t kDefault = 8 << 20, kLeast = 256 << 10;
    if (p.options.stack_size != 0) return align_up(std::max<uint64_t>(p.options.stack_size, kLeast), kPage);
    rlimit lim{};
    if (getrlimit(RLIMIT_STACK, &lim) != 0 || lim.rlim_cur == RLIM_INFINITY) return kDefault;
    return align_up(std::clamp<uint64_t>(lim.rlim_cur, kLeast, 1 << 30), kPage);
}

/// Writes downwards from the top of the stack.
class StackWriter {
  public:
    StackWriter(AddressSpace& m, uint64_t top) : memory_(m), at_(top) {}
    uint64_t bytes(const void* data, size_t n) {
        at_ -= n;
        memory_.copy_out(at_, data, n);
        return at_;
    }
    uint64_t string(const std::string& s) { return bytes(s.c_str(), s.size() + 1); }
    void align(uint64_t a) { at_ = align_down(at_, a); }
    [[nodiscard]] uint64_t at() const { return at_; }

  private:
    AddressSpace& memory_;
    uint64_t at_;
};

}  // namespace

Result<ProgramFile> open_program(const std::string& path, int fd) {
    ProgramFile f;
    f.path = path;
    f.fd = fd >= 0 ? fd : open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (f.fd < 0) return fail_errno(errno, path);
    struct stat st;
    if (fstat(f.fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        close(f.fd);
        return fail(ErrorKind::kInvalidArgument, path + (S_ISDIR(st.st_mode) ? ": is a directory" : ": is not a regular file"), EACCES);
    }
    // One read for nearly all programs: header, program headers and interpreter are at the start.
    char head[4096];
    const size_t head_size = read_fully(f.fd, head, sizeof head, 0);
    const ReadAt read = [&](void* to, size_t n, uint64_t offset) {
        if (offset < head_size && n <= head_size - offset) {
            std::memcpy(to, head + offset, n);
            return n;
        }
        if (head_size < sizeof head && offset >= head_size) return size_t{0};
        return read_fully(f.fd, to, n, offset);
    };
    auto e = parse_elf(read);
    if (!e) {
        close(f.fd);
        return std::unexpected(std::move(e.error()).in(path));
    }
    f.elf = std::move(*e);
    return f;
}

Result<StartState> load_program(Process& p, ProgramFile& file, const std::vector<std::string>& args, const std::vector<std::string>& env) {
    const ElfImage& e = file.elf;
    const uint64_t pie = p.memory.limit() > kPieBase47 ? kPieBase47 : p.memory.limit() > kPieBase39 ? kPieBase39 : 0x40000000;
    // The stack first: it gets the top of the address space.
    const uint64_t stack_size = stack_bytes(p);
    const int stack_prot = PROT_READ | PROT_WRITE | (e.executable_stack ? PROT_EXEC : 0);
    const int64_t stack = p.memory.mmap(0, stack_size + kPage, stack_prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (stack < 0) return fail_errno(static_cast<int>(-stack), "cannot map the guest's stack");
    p.memory.mprotect(static_cast<uint64_t>(stack), kPage, PROT_NONE);
    p.memory.stack_start = static_cast<uint64_t>(stack) + kPage;
    p.memory.stack_end = p.memory.stack_start + stack_size;

    auto program = map_image(p, file, pie);
    if (!program) return std::unexpected(program.error());
    p.memory.set_brk(program->end);
    for (const ElfSegment& s : e.segments) {
        if ((s.prot & PROT_EXEC) != 0) {
            p.code_start = p.code_start != 0 ? p.code_start : s.vaddr + program->bias;
            p.code_end = s.vaddr + s.filesz + program->bias;
        } else if ((s.prot & PROT_WRITE) != 0) {
            p.data_start = s.vaddr + program->bias;
            p.data_end = s.vaddr + s.filesz + program->bias;
        }
    }
    uint64_t entry = program->entry, interp_base = 0;
    if (!e.interpreter.empty()) {
        auto interp_file = open_interpreter(p, file);
        if (!interp_file) return std::unexpected(interp_file.error());
        auto interp = map_image(p, *interp_file, 0);
        close(interp_file->fd);
        if (!interp) return std::unexpected(interp.error());
        entry = interp->entry;
        interp_base = interp->bias;
    }
    close(file.fd);
    file.fd = -1;
    if (auto r = map_vdso(p); !r) return std::unexpected(r.error());

    StackWriter w(p.memory, p.memory.stack_end - 8);
    const uint64_t execfn = w.string(file.path);
    std::vector<uint64_t> arg_at(args.size()), env_at(env.size());
    p.env_end = w.at();
    for (size_t i = env.size(); i-- > 0;) env_at[i] = w.string(env[i]);
    p.env_start = p.args_end = w.at();
    for (size_t i = args.size(); i-- > 0;) arg_at[i] = w.string(args[i]);
    p.args_start = w.at();
    if (p.env_end - p.args_start > stack_size / 2) return fail(ErrorKind::kNoMemory, file.path + ": arguments and environment do not fit its stack", E2BIG);
    const uint64_t platform = p.abi.platform != nullptr ? w.string(p.abi.platform) : 0;
    uint8_t random[16];
    if (p.options.seed) {
        uint64_t x = *p.options.seed;
        for (uint8_t& b : random) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            b = static_cast<uint8_t>(x >> 33);
        }
    } else {
        std::memcpy(random, reinterpret_cast<const void*>(getauxval(AT_RANDOM)), 16);
    }
    const uint64_t random_at = w.bytes(random, sizeof random);
    w.align(16);

    std::vector<uint64_t> aux;
    const auto add = [&](uint64_t type, uint64_t value) { aux.insert(aux.end(), {type, value}); };
    add(AT_SYSINFO_EHDR, p.memory.vdso_start);
    if (p.abi.min_sigstack != 0) add(AT_MINSIGSTKSZ, p.abi.min_sigstack);
    add(AT_HWCAP, p.abi.hwcap(p.cpu, 1));
    add(AT_PAGESZ, kPage);
    add(AT_CLKTCK, 100);
    add(AT_PHDR, program->phdr);
    add(AT_PHENT, e.phentsize);
    add(AT_PHNUM, e.phnum);
    add(AT_BASE, interp_base);
    add(AT_FLAGS, 0);
    add(AT_ENTRY, program->entry);
    add(AT_UID, getauxval(AT_UID));
    add(AT_EUID, getauxval(AT_EUID));
    add(AT_GID, getauxval(AT_GID));
    add(AT_EGID, getauxval(AT_EGID));
    add(AT_SECURE, getauxval(AT_SECURE));
    add(AT_RANDOM, random_at);
    if (const uint64_t two = p.abi.hwcap(p.cpu, 2); two != 0) add(AT_HWCAP2, two);
    add(AT_EXECFN, execfn);
    if (platform != 0) add(AT_PLATFORM, platform);
    add(AT_NULL, 0);

    std::vector<uint64_t> block;
    block.reserve(3 + args.size() + env.size() + aux.size());
    block.push_back(args.size());
    block.insert(block.end(), arg_at.begin(), arg_at.end());
    block.push_back(0);
    block.insert(block.end(), env_at.begin(), env_at.end());
    block.push_back(0);
    const size_t aux_index = block.size();
    block.insert(block.end(), aux.begin(), aux.end());
    const uint64_t sp = align_down(w.at() - block.size() * 8, 16);
    if (p.memory.copy_out(sp, block.data(), block.size() * 8) != 0)
        return fail(ErrorKind::kNoMemory, file.path + ": arguments and environment do not fit its stack", E2BIG);
    p.auxv = sp + aux_index * 8;
    p.auxv_size = aux.size() * 8;
    return StartState{entry, sp};
}

}  // namespace myna::user
