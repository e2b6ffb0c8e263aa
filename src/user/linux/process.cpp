// Starting a guest process: from options to the first instruction.
//
//   program's ELF header ─▶ guest, ABI, CPU ─▶ AddressSpace ─▶ load_program ─▶ Engine, Vcpu ─▶ signals ─▶ Thread::run
#include "user/linux/process.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "user/linux/debug.h"
#include "user/linux/loader.h"
#include "user/linux/signals.h"
#include "user/linux/syscalls/calls.h"
#include "user/linux/syscalls/seccomp.h"

namespace myna::user {

int move_up(int fd) {
    for (const int high : {1000, 200}) {
        const int moved = fcntl(fd, F_DUPFD_CLOEXEC, high);
        if (moved < 0) continue;
        close(fd);
        return moved;
    }
    return fd;
}

namespace {

/// Prints an error the way all of them look; returns the exit code of programs that could not be started.
int report(const Options& o, const Error& e) {
    std::fprintf(stderr, "%s: %s\n", o.called.c_str(), e.message.c_str());
    return e.sys_errno == ENOENT ? 127 : e.kind == ErrorKind::kInvalidArgument && e.sys_errno == 0 ? 1 : 126;
}

Result<const guest::GuestArch*> guest_for(const Options& o, const ProgramFile& f) {
    const guest::GuestArch* g = guest::find_guest_elf(f.elf.machine, f.elf.elf_class, f.elf.big_endian);
    const std::string is = f.path + ": this program is for " + elf_machine_name(f.elf.machine, f.elf.elf_class, f.elf.big_endian);
    if (g == nullptr) {
        std::string known;
        for (const guest::GuestArch* k : guest::all_guests()) known += (known.empty() ? "" : ", ") + std::string(k->name);
        return fail(ErrorKind::kUnsupported, is + ", which is not among the guests (" + known + ")", ENOEXEC);
    }
    if (!o.guest.empty() && g->name != o.guest)
        return fail(ErrorKind::kInvalidArgument, is + "; " + o.called + " runs " + o.guest + " only. myna-user runs all", ENOEXEC);
    return g;
}

/// The guest's environment: the host's with -E and -U applied in order.
std::vector<std::string> guest_environment(const Options& o, char** env) {
    std::vector<std::string> out;
    for (char** e = env; *e != nullptr; ++e) out.emplace_back(*e);
    const auto remove = [&](std::string_view name) {
        std::erase_if(out, [&](const std::string& v) { return v.size() > name.size() && v[name.size()] == '=' && v.starts_with(name); });
    };
    for (const std::string& name : o.unset_env) remove(name);
    for (const std::string& set : o.set_env) {
        remove(std::string_view(set).substr(0, set.find('=')));
        out.push_back(set);
    }
    return out;
}

/// -D: opens the log.
int open_log(const Options& o) {
    std::string name = o.log_file;
    if (const size_t at = name.find("%d"); at != std::string::npos) name.replace(at, 2, std::to_string(getpid()));
    const int fd = open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0666);
    return fd < 0 ? -1 : move_up(fd);
}

void name_process(Process& p, int fd) {
    char link[32], path[PATH_MAX];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const ssize_t n = readlink(link, path, sizeof path);
    if (n > 0) {
        p.exe.assign(path, static_cast<size_t>(n));
    } else if (p.options.program[0] == '/') {
        p.exe = p.options.program;
    } else if (getcwd(path, sizeof path) != nullptr) {
        p.exe = std::string(path) + "/" + p.options.program;
    }
    const std::string& shown = p.options.program;
    prctl(PR_SET_NAME, shown.c_str() + (shown.rfind('/') == std::string::npos ? 0 : shown.rfind('/') + 1));
}

/// Tells the kernel where the guest's arguments, environment and auxiliary vector are, so that /proc shows them to everyone.
/// Kernels without checkpoint/restore refuse; then only this process sees them (proc_views.cpp).
void tell_kernel(Process& p) {
    prctl_mm_map m{};
    const uint64_t base = p.memory.base();
    std::vector<uint64_t> aux(p.auxv_size / 8);
    if (p.memory.copy_in(aux.data(), p.auxv, p.auxv_size) != 0) return;
    m.start_code = p.code_start + base;
    m.end_code = std::max(p.code_end, p.code_start + 1) + base;
    m.start_data = p.data_start + base;
    m.end_data = std::max(p.data_end, p.data_start) + base;
    m.start_brk = m.brk = arg(sbrk(0));  // the emulator's heap goes on growing from here
    m.start_stack = p.start_sp + base;
    m.arg_start = p.args_start + base;
    m.arg_end = p.args_end + base;
    m.env_start = p.env_start + base;
    m.env_end = p.env_end + base;
    m.auxv = reinterpret_cast<__u64*>(aux.data());
    m.auxv_size = static_cast<uint32_t>(aux.size() * 8);
    m.exe_fd = ~0u;
    p.kernel_knows = host_syscall(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, arg(&m), sizeof m, 0) == 0;
}

void print_layout(Process& p) {
    std::string text = "guest_base  0x";
    char line[128];
    std::snprintf(line, sizeof line, "%llx\nstart            end              size             prot\n", static_cast<unsigned long long>(p.memory.base()));
    text += line;
    for (const Region& r : p.memory.snapshot()) {
        if ((r.flags & Region::kReserved) != 0) continue;
        std::snprintf(line, sizeof line, "%016llx-%016llx %016llx %c%c%c\n", static_cast<unsigned long long>(r.start), static_cast<unsigned long long>(r.end),
                      static_cast<unsigned long long>(r.end - r.start), (r.prot & 1) != 0 ? 'r' : '-', (r.prot & 2) != 0 ? 'w' : '-', (r.prot & 4) != 0 ? 'x' : '-');
        text += line;
    }
    std::snprintf(line, sizeof line, "start_brk   0x%016llx\nstart_stack 0x%016llx\n", static_cast<unsigned long long>(p.memory.brk_start()), static_cast<unsigned long long>(p.start_sp));
    text += line;
    host_syscall(SYS_write, static_cast<uint64_t>(p.log_fd), arg(text.data()), text.size());
}

}  // namespace

int run_program(Options& o, char** env) {
    auto file = open_program(o.program, o.program_fd);
    if (!file) return report(o, file.error());
    const auto g = guest_for(o, *file);
    if (!g) return report(o, g.error());
    const guest::GuestArch& arch = **g;
    const LinuxAbi* abi = find_abi(arch);
    if (abi == nullptr) return report(o, Error{ErrorKind::kUnsupported, o.program + ": there is no Linux ABI for " + std::string(arch.name) + " yet", ENOEXEC});

    // Never destroyed: threads may still use it while the process ends.
    auto& p = *new Process(o, *abi);
    auto cpu = arch.parse_cpu(o.cpu.empty() ? "max" : o.cpu);
    if (!cpu) return report(o, cpu.error());
    p.cpu = std::move(*cpu);
    p.strace = o.strace || (o.engine.log & jit::Log::kStrace) != 0;
    if (!o.log_file.empty()) {
        p.log_fd = open_log(o);
        if (p.log_fd < 0) return report(o, error_from_errno(errno, "-D " + o.log_file));
        o.engine.log_fd = p.log_fd;
    }
    p.pid = o.engine.jit_stats ? host_syscall(SYS_getpid) : 0;
    p.sysroot.set(o.sysroot);
    name_process(p, file->fd);

    const uint64_t lowest = file->elf.position_independent ? ~uint64_t{0} : file->elf.low();
    if (auto r = p.memory.start(o.guest_base, lowest, arch.address_bits, o.reserved_va); !r) return report(o, r.error());
    o.engine.guest_base = p.memory.base();
    const auto start = load_program(p, *file, o.args, guest_environment(o, env));
    if (!start) return report(o, start.error());
    p.start_sp = start->sp;
    tell_kernel(p);
    if ((o.engine.log & jit::Log::kPage) != 0) print_layout(p);

    auto engine = jit::Engine::create(arch, p.cpu, o.engine, p.memory);
    if (!engine) return report(o, engine.error());
    p.engine = std::move(*engine);
    p.memory.set_engine(p.engine.get());
    auto* main = new Thread(p, p.engine->create_vcpu());
    p.threads.push_back(main);
    Thread::set_current(main);
    abi->start_thread(*main, start->entry, start->sp);
    main->vcpu->state_changed();
    if (const auto* name = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
        o.emulator.empty() && name != nullptr && name[0] == '/' && o.program != name && std::strcmp(name, "/proc/self/exe") != 0)
        o.emulator = name;
    if (!o.limits.empty()) set_limits(p, o.limits);
    start_signals(*main);
    if (o.filters_fd >= 0) load_filters(*main, o.filters_fd);
    if (!o.traced.empty()) trace_after_exec(*main, o.traced.c_str());
    if (!o.gdb.empty()) {
        auto d = Debugger::start(p, o.gdb);
        if (!d) return report(o, d.error());
        p.debugger = d->release();
        p.debugger.load()->begin(*main);
    }
    main->run();

    // The main thread called exit: the others go on, and the process has this exit code when the last one ends.
    bool last;
    {
        const std::lock_guard l(p.threads_lock);
        last = p.threads.size() == 1;
    }
    if (last) exit_process(*main, main->exit_code);
    if (Debugger* d = p.debugger) d->on_thread_end(*main);
    host_syscall(SYS_exit, static_cast<uint64_t>(main->exit_code));
    __builtin_unreachable();
}

}  // namespace myna::user
