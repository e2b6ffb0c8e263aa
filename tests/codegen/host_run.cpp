#include "codegen/host_run.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <sstream>

#include "codegen/alloc_check.h"
#include "guest/common/state.h"
#include "ir/eval.h"
#include "ir/printer.h"

namespace myna::testing {

namespace {
constexpr size_t kCodeBytes = size_t{1} << 20;
constexpr uint64_t kBlockAt = 16384;

void randomise(ToyState& s, std::mt19937_64& rng) {
    for (auto& x : s.x) x = interesting(rng);
    for (auto& w : s.w) w = static_cast<uint32_t>(interesting(rng));
    for (auto& f : s.f) f = interesting(rng);
    for (auto& v : s.v) v.u64 = {interesting(rng), interesting(rng)};
    s.nzcv = static_cast<uint32_t>(rng() & 15) << 28;
}

void differ(std::ostream& out, const char* what, uint64_t expected, uint64_t got) {
    if (expected == got) return;
    char line[128];
    std::snprintf(line, sizeof line, "%s: %016llx expected, got %016llx\n", what, static_cast<unsigned long long>(expected),
                  static_cast<unsigned long long>(got));
    out << line;
}
}  // namespace

HostRunner::HostRunner(const x64::Options& opt, const guest::GuestArch& arch) : opt_(opt), arch_(arch), compiler_(arch, opt) {
    code_ = static_cast<uint8_t*>(mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    stubs_ = *compiler_.emit_stubs({code_, kCodeBytes}, reinterpret_cast<uint64_t>(code_));
    compiler_.use_stubs(stubs_);
    indirect_ = std::make_unique<guest::IndirectEntry[]>(guest::kIndirectEntries);
    for (unsigned i = 0; i < guest::kIndirectEntries; ++i) indirect_[i] = {i == 0 ? ~uint64_t{0} : 0, 0};  // addresses that belong to other entries
}

HostRunner::~HostRunner() { munmap(code_, kCodeBytes); }

bool HostRunner::compile(const ir::Function& f) {
    at_ = kBlockAt;
    block.clear();
    return compiler_.compile(f, {code_ + at_, kCodeBytes - at_}, reinterpret_cast<uint64_t>(code_) + at_, block);
}

std::vector<uint8_t> HostRunner::bytes_at(const ir::Function& f, uint64_t stubs_at, uint64_t stub_distance) {
    x64::Stubs moved = stubs_;
    const uint64_t exec = stubs_at + stub_distance;
    const uint64_t delta = exec - stub_distance - reinterpret_cast<uint64_t>(code_);
    for (uint64_t x64::Stubs::* p : {&x64::Stubs::exit, &x64::Stubs::link, &x64::Stubs::fault_exit, &x64::Stubs::poll,
                                     &x64::Stubs::lookup, &x64::Stubs::call_state, &x64::Stubs::call_vector,
                                     &x64::Stubs::call_pure, &x64::Stubs::soft, &x64::Stubs::mmu, &x64::Stubs::end})
        moved.*p += delta;
    x64::Compiler other(toy_guest(), opt_);
    other.use_stubs(moved);
    std::vector<uint8_t> out(kCodeBytes);
    x64::CompiledBlock b;
    if (!other.compile(f, out, exec, b)) return {};
    out.resize(b.code_bytes);
    return out;
}

ir::ExitReason HostRunner::run(ToyState& s) {
    std::vector<const void*> helpers;
    for (const guest::Helper& h : toy_guest().helpers) helpers.push_back(h.fn);
    s.hdr.helpers = helpers.data();
    s.hdr.rt_helpers = x64::runtime_helpers().data();
    s.hdr.indirect = indirect_.get();
    s.hdr.exit_reason = 0;
    return static_cast<ir::ExitReason>(stubs_.enter(&s.hdr, code_ + at_));
}

std::string HostRunner::check_allocation(const ir::Function& f) {
    return check_allocation(f, [](x64::AllocLog&) {});
}

std::string HostRunner::check_allocation(const ir::Function& f, const std::function<void(x64::AllocLog&)>& change) {
    x64::AllocLog log;
    compiler_.log_allocation(&log);
    const bool compiled = compile(f);
    compiler_.log_allocation(nullptr);
    if (!compiled) return "does not compile\n" + ir::print(f, arch_);
    change(log);
    const x64::Layout layout(arch_, opt_.pin);
    const std::string wrong = testing::check_allocation({.arch = arch_, .function = f, .layout = layout, .block = block, .log = log, .stubs = stubs_,
                                                         .code = {code_ + at_, block.code_bytes},
                                                         .exec = reinterpret_cast<uint64_t>(code_) + at_, .system_mode = opt_.system_mode});
    return wrong.empty() ? wrong : wrong + ir::print(f, arch_) + text();
}

std::string HostRunner::text() const {
    std::string out;
    const uint64_t base = reinterpret_cast<uint64_t>(code_) + at_;
    for (uint32_t at = 0; at < block.code_bytes;) {
        unsigned length = 0;
        char head[24];
        std::snprintf(head, sizeof head, "%4x: ", at);
        const std::string insn = x64::disassemble_host({code_ + at_ + at, block.code_bytes - at}, base + at, &length);
        out += head + (insn.empty() ? "(data)" : insn) + "\n";
        at += length != 0 ? length : 1;
    }
    return out;
}

x64::HostFeatures host_without(const std::string& masked) {
    x64::HostFeatures f = *x64::HostFeatures::detect();
    std::stringstream names(masked);
    for (std::string name; std::getline(names, name, ',');) f.mask(name);
    return f;
}

x64::Options HostCase::options() const {
    x64::Options o;
    o.host = host_without(masked);
    o.dead_sets = dead_sets;
    o.fuse = fuse;
    o.pin = pin;
    return o;
}

std::string compare_runs(HostRunner& host, const ir::Function& f, std::mt19937_64& rng, unsigned rounds, bool fp) {
    if (!host.compile(f)) return "does not compile\n" + ir::print(f, toy_guest());
    const auto mine = std::make_unique<ToyState>();
    const auto theirs = std::make_unique<ToyState>();
    alignas(64) std::array<uint8_t, kRandomMemoryBytes + 64> memory{}, before{}, after{};
    ir::Evaluator evaluator(toy_guest());
    std::vector<const void*> helpers;
    for (const guest::Helper& h : toy_guest().helpers) helpers.push_back(h.fn);
    for (unsigned round = 0; round < rounds; ++round) {
        *mine = ToyState{};
        randomise(*mine, rng);
        mine->base = reinterpret_cast<uint64_t>(memory.data());
        mine->hdr.mxcsr = 0x1f80;
        for (auto& b : memory) b = static_cast<uint8_t>(rng());
        before = memory;
        *theirs = *mine;
        const ToyState start = *mine;
        const ir::ExitReason got = host.run(*mine);
        after = memory;
        memory = before;
        ir::DirectMemory direct(0);
        theirs->hdr.helpers = helpers.data();
        const ir::EvalResult expected = evaluator.run(f, theirs.get(), direct);
        std::ostringstream out;
        const bool leaves = got != ir::ExitReason::kLink && got != ir::ExitReason::kLookup;
        differ(out, "pc", expected.next_pc, mine->hdr.pc);
        differ(out, "reason", static_cast<unsigned>(expected.reason), leaves ? static_cast<unsigned>(got) : 0);
        for (unsigned i = 0; i < 8; ++i) differ(out, ("x" + std::to_string(i)).c_str(), theirs->x[i], mine->x[i]);
        for (unsigned i = 0; i < 2; ++i) differ(out, ("w" + std::to_string(i)).c_str(), theirs->w[i], mine->w[i]);
        for (unsigned i = 0; i < 2; ++i) differ(out, ("f" + std::to_string(i)).c_str(), theirs->f[i], mine->f[i]);
        for (unsigned i = 0; i < 8; ++i)
            differ(out, ("v" + std::to_string(i / 2) + (i % 2 ? ".hi" : ".lo")).c_str(), theirs->v[i / 2].u64[i % 2], mine->v[i / 2].u64[i % 2]);
        differ(out, "nzcv", theirs->nzcv, mine->nzcv);
        if (leaves) differ(out, "trap_arg", theirs->hdr.trap_arg, mine->hdr.trap_arg);
        differ(out, "excl_addr", theirs->hdr.excl_addr, mine->hdr.excl_addr);
        if (theirs->hdr.excl_addr != guest::kNoExclusive) differ(out, "excl_value", theirs->hdr.excl_value[0], mine->hdr.excl_value[0]);
        // No guest has x86's denormal flag; Arm's underflow, found before rounding, is exact where it is watched.
        const uint32_t open = f.nan_rule != ir::NanRule::kRiscv && !f.fp_exact && !f.exact_underflow ? 0x12 : 0x02;
        if (fp) differ(out, "mxcsr", theirs->hdr.mxcsr & ~open, mine->hdr.mxcsr & ~open);
        if (memory != after)
            for (unsigned i = 0; i < memory.size(); ++i)
                differ(out, ("memory +" + std::to_string(i)).c_str(), memory[i], after[i]);
        if (out.str().empty()) continue;
        std::string report = out.str() + "from:";
        char word[64];
        for (unsigned i = 0; i < 8; ++i) {
            std::snprintf(word, sizeof word, " x%u=%llx", i, static_cast<unsigned long long>(start.x[i]));
            report += word;
        }
        std::snprintf(word, sizeof word, " w0=%x w1=%x nzcv=%x base=%llx\n", start.w[0], start.w[1], start.nzcv,
                      static_cast<unsigned long long>(start.base));
        return report + word + ir::print(f, toy_guest()) + host.text();
    }
    return {};
}

}  // namespace myna::testing
