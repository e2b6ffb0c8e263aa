// What lifting costs and what it gives: all code of an ELF file, block by block, through the lifter and the Builder.
//
//   lift_bench FILE                 nanoseconds, IR instructions and their kinds per guest instruction
//   lift_bench FILE --show N [M]    the IR of M blocks from the N-th on, before (dead ones marked) the back end sees it
//   lift_bench FILE --pc ADDRESS    the IR of the block at a guest address
#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "guest/common/arch.h"
#include "ir/builder.h"
#include "ir/printer.h"
#include "ir/sweep.h"
#include "ir/verifier.h"

namespace myna {
namespace {

/// The executable section with the most bytes.
struct Code final : guest::CodeFetcher {
    std::vector<uint8_t> bytes;
    uint64_t address = 0;

    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        if (pc < address || pc >= address + bytes.size()) return 0;
        const auto n = static_cast<unsigned>(std::min<uint64_t>(want, address + bytes.size() - pc));
        std::memcpy(out, bytes.data() + (pc - address), n);
        return n;
    }
};

const guest::GuestArch* load(const char* path, Code& code) {
    std::ifstream in(path, std::ios::binary);
    const std::vector<char> file{std::istreambuf_iterator<char>(in), {}};
    if (file.size() < sizeof(Elf64_Ehdr)) return nullptr;
    Elf64_Ehdr head;
    std::memcpy(&head, file.data(), sizeof head);
    for (unsigned n = 0; n < head.e_shnum; ++n) {
        Elf64_Shdr s;
        std::memcpy(&s, file.data() + head.e_shoff + n * sizeof s, sizeof s);
        if (!(s.sh_flags & SHF_EXECINSTR) || s.sh_size <= code.bytes.size()) continue;
        code.address = s.sh_addr;
        code.bytes.assign(file.begin() + static_cast<long>(s.sh_offset), file.begin() + static_cast<long>(s.sh_offset + s.sh_size));
    }
    return guest::find_guest_elf(head.e_machine, head.e_ident[EI_CLASS], false);
}

uint64_t end_of(const ir::Function& f) {
    uint64_t end = f.pc;
    for (const ir::GuestRange& r : f.ranges) end = std::max(end, r.pc + r.bytes);
    return end;
}

/// CPU time of this thread, so that a busy machine disturbs less.
double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

class Bench {
  public:
    Bench(const guest::GuestArch& arch, Code& code) : arch_(arch), code_(code), cpu_(*arch.parse_cpu("max")), builder_(f_, arch, {}) {
        for (uint64_t pc = code.address; pc < code.address + code.bytes.size();) {
            lift(pc);
            starts_.push_back(pc);
            guest_ += f_.guest_insns;
            ir_ += f_.insts.size();
            pc = std::max(end_of(f_), pc + (uint64_t{1} << arch.insn_align_log2));
        }
    }

    void show(size_t from, size_t count) {
        for (size_t n = from; n < std::min(from + count, starts_.size()); ++n) show_pc(starts_[n]);
    }

    void show_pc(uint64_t pc) {
        lift(pc);
        sweep_.run(f_, arch_);
        fmt::print("block {:#x}: {} guest instructions\n", f_.pc, f_.guest_insns);
        for (ir::Ref r = 0; r < f_.insts.size(); ++r) {
            if (f_[r].op == ir::Op::kInsn) {
                uint8_t raw[16];
                const unsigned got = code_.fetch(f_[r].imm, raw, sizeof raw);
                unsigned length = 0;
                fmt::print("  {:#x}  {}\n", f_[r].imm, arch_.disassemble(f_[r].imm, {raw, got}, &length));
            } else {
                fmt::print("      {}{}\n", sweep_.live[r] ? "" : "; dead  ", ir::print(f_, r, arch_));
            }
        }
        if (const std::string why = ir::verify(f_, arch_); !why.empty()) fmt::print("  MALFORMED: {}\n", why);
    }

    void measure() {
        // The least of several rounds, by pieces: other programs' turns are left out.
        double lifting = 0, sweeping = 0;
        for (size_t at = 0; at < starts_.size(); at += 500) {
            const auto piece = std::span(starts_).subspan(at, std::min<size_t>(500, starts_.size() - at));
            double lift_only = 1e300, both = 1e300;
            for (int round = 0; round < 7; ++round) {
                const double t0 = now();
                for (const uint64_t pc : piece) lift(pc);
                const double t1 = now();
                for (const uint64_t pc : piece) lift(pc), sweep_.run(f_, arch_);
                const double t2 = now();
                lift_only = std::min(lift_only, t1 - t0);
                both = std::min(both, t2 - t1);
            }
            lifting += lift_only;
            sweeping += both - lift_only;
        }
        std::map<std::string_view, unsigned> kinds;
        size_t live = 0, malformed = 0;
        for (const uint64_t pc : starts_) {
            lift(pc);
            if (!ir::verify(f_, arch_).empty() && malformed++ < 5) show_pc(pc);
            sweep_.run(f_, arch_);
            for (ir::Ref r = 0; r < f_.insts.size(); ++r) {
                if (sweep_.live[r]) ++live, ++kinds[ir::info(f_[r].op).text];
            }
        }
        const auto per = [this](double v) { return v / static_cast<double>(guest_); };
        fmt::print("{} blocks, {} guest instructions ({:.1f} a block), {} malformed\n", starts_.size(), guest_,
                   static_cast<double>(guest_) / static_cast<double>(starts_.size()), malformed);
        fmt::print("per guest instruction: {:.2f} IR instructions, {:.2f} live; lift {:.1f} ns, sweep {:.1f} ns\n",
                   per(static_cast<double>(ir_)), per(static_cast<double>(live)), per(lifting), per(sweeping));
        fmt::print("per IR instruction: lift {:.1f} ns\n", lifting / static_cast<double>(ir_));
        std::vector<std::pair<unsigned, std::string_view>> order;
        for (const auto& [text, n] : kinds) order.emplace_back(n, text);
        std::sort(order.rbegin(), order.rend());
        for (size_t n = 0; n < std::min<size_t>(order.size(), 30); ++n) {
            fmt::print("{:>10} {:.3f}{}", order[n].second, per(order[n].first), n % 6 == 5 ? "\n" : "");
        }
        fmt::print("\n");
    }

  private:
    void lift(uint64_t pc) {
        builder_.begin(pc, 0);
        arch_.lift_block(builder_, code_, cpu_, {});
    }

    const guest::GuestArch& arch_;
    Code& code_;
    guest::CpuConfig cpu_;
    ir::Function f_;
    ir::Builder builder_;
    ir::Sweep sweep_;
    std::vector<uint64_t> starts_;
    size_t guest_ = 0, ir_ = 0;
};

}  // namespace
}  // namespace myna

int main(int argc, char** argv) {
    using namespace myna;
    if (argc < 2) return fmt::print(stderr, "usage: lift_bench FILE [--show N [M] | --pc ADDRESS]\n"), 2;
    Code code;
    const guest::GuestArch* arch = load(argv[1], code);
    if (!arch) return fmt::print(stderr, "lift_bench: {}: not an ELF file of a guest\n", argv[1]), 1;
    Bench bench(*arch, code);
    const std::string what = argc > 3 ? argv[2] : "";
    if (what == "--show") {
        bench.show(std::stoul(argv[3]), argc > 4 ? std::stoul(argv[4]) : 1);
    } else if (what == "--pc") {
        bench.show_pc(std::stoull(argv[3], nullptr, 16));
    } else {
        bench.measure();
    }
    return 0;
}
