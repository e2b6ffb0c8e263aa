#include "jit/translator.h"

#include <x86intrin.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "base/bits.h"
#include "ir/printer.h"
#include "ir/sweep.h"
#include "ir/verifier.h"

namespace myna::jit {

namespace {
bool has_item(const std::vector<std::string>& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
}
}  // namespace

Translator::Translator(const guest::GuestArch& arch, const guest::CpuConfig& cpu, const EngineOptions& opt,
                       GuestMemory& memory, CodeCache& cache, BlockMap& map, LogSink& log, PerfRecorder& perf)
    : arch_(arch), cpu_(cpu), opt_(opt), cache_(cache), map_(map), log_(log), perf_(perf), fetcher_(memory, opt.guest_base),
      builder_(function_, arch,
               {.fold = !has_item(opt.jit_disable, "fold"),
                .share = !has_item(opt.jit_disable, "share"),
                .forward = !has_item(opt.jit_disable, "forward")}) {
    limits_.single_insn = opt.one_insn_per_block;
    if (limits_.single_insn) limits_.max_insns = 1;
    limits_.if_convert = !has_item(opt.jit_disable, "if-convert");
    limits_.unroll = !has_item(opt.jit_disable, "unroll");
}

Result<void> Translator::start(const x64::Options& codegen) {
    codegen_ = codegen;
    stubs_at_ = cache_.exec_address();
    compiled_.keep_stub_fields = opt_.keep_relocations;
    compiler_ = std::make_unique<x64::Compiler>(arch_, codegen);
    auto stubs = compiler_->emit_stubs(cache_.free_space(), cache_.exec_address());
    if (!stubs) return std::unexpected(stubs.error());
    stubs_ = *stubs;
    compiler_->use_stubs(stubs_);
    cache_.commit(stubs_.end - cache_.exec_address(), nullptr);
    return {};
}

Block* Translator::translate(uint64_t pc, uint32_t mode) {
    const uint64_t start = __rdtsc();
    fetcher_.begin();
    builder_.begin(pc, mode);
    arch_.lift_block(builder_, fetcher_, cpu_, limits_);
    if (fetcher_.ranges.empty()) fetcher_.ranges.push_back({pc, 0});
    std::swap(function_.ranges, fetcher_.ranges);
#ifndef NDEBUG
    if (const std::string why = ir::verify(function_, arch_); !why.empty()) throw std::logic_error("malformed IR: " + why);
#endif
    const uint64_t host = cache_.exec_address();
    compiled_.clear();
    if (!compiler_->compile(function_, cache_.free_space(), host, compiled_)) return nullptr;
    Block* b = record(function_, host);
    cache_.commit(compiled_.code_bytes, b);
    map_.publish(b);
    ++stats.blocks;
    stats.guest_insns += b->guest_insns;
    stats.guest_bytes += function_.ranges.empty() ? 0 : function_.ranges[0].bytes;
    stats.host_bytes += b->code_bytes;
    stats.ir_insns += function_.insts.size();
    stats.translate_cycles += __rdtsc() - start;
    if (perf_.on()) [[unlikely]] perf_.add(host, b->code_bytes, cache_.writable(host), pc);
    if (log_.on(Log::kInAsm | Log::kOp | Log::kOpOpt | Log::kOutAsm, pc)) [[unlikely]] log_block(function_, *b);
    return b;
}

Block* Translator::compile(const ir::Function& f) {
    const uint64_t host = cache_.exec_address();
    compiled_.clear();
    if (!compiler_->compile(f, cache_.free_space(), host, compiled_)) return nullptr;
    Block* b = record(f, host);
    cache_.commit(compiled_.code_bytes, b);
    if (perf_.on()) [[unlikely]] perf_.add(host, b->code_bytes, cache_.writable(host), f.pc);
    if (log_.on(Log::kInAsm | Log::kOp | Log::kOpOpt | Log::kOutAsm, f.pc)) [[unlikely]] log_block(f, *b);
    return b;
}

const std::vector<ir::GuestRange>& Translator::ranges_of(uint64_t pc, uint32_t mode) {
    fetcher_.begin();
    builder_.begin(pc, mode);
    arch_.lift_block(builder_, fetcher_, cpu_, limits_);
    return fetcher_.ranges;
}

Block* Translator::record(const ir::Function& f, uint64_t host) {
    BlockArena& arena = map_.arena();
    Block* b = arena.make<Block>(1);
    *b = Block{};
    b->pc = f.pc;
    b->host = host;
    b->mode = f.mode;
    b->code_bytes = compiled_.code_bytes;
    b->guest_insns = static_cast<uint32_t>(compiled_.guest_pcs.size());
    b->valid = true;

    b->exit_count = static_cast<uint16_t>(compiled_.exits.size());
    b->exits = arena.make<Exit>(b->exit_count);
    for (unsigned i = 0; i < b->exit_count; ++i) {
        const x64::ExitSite& e = compiled_.exits[i];
        b->exits[i] = Exit{e.target_pc, e.disp_offset, e.stub_offset, b, nullptr, nullptr, nullptr};
        // The one thing in the code that is not relative: the stub says which exit it is to the run loop.
        reinterpret_cast<x64::ExitStubData*>(cache_.writable(host + e.stub_offset) + x64::kExitStubCall)->target = reinterpret_cast<uint64_t>(&b->exits[i]);
    }
    b->fault_count = static_cast<uint16_t>(compiled_.faults.size());
    b->faults = arena.make<Fault>(b->fault_count);
    for (unsigned i = 0; i < b->fault_count; ++i) {
        const x64::FaultPoint& p = compiled_.faults[i];
        b->faults[i] = Fault{p.host_offset, static_cast<uint16_t>(p.insn_index), p.flags};
    }
    b->insn_deltas = arena.make<int32_t>(b->guest_insns);
    for (unsigned i = 0; i < b->guest_insns; ++i) b->insn_deltas[i] = static_cast<int32_t>(compiled_.guest_pcs[i] - f.pc);
    b->range_count = static_cast<uint8_t>(std::min<size_t>(f.ranges.size(), 255));
    b->ranges = arena.make<ir::GuestRange>(b->range_count);
    std::copy_n(f.ranges.begin(), b->range_count, b->ranges);
    if (!compiled_.stub_fields.empty()) {
        b->stub_field_count = static_cast<uint32_t>(compiled_.stub_fields.size());
        b->stub_fields = arena.make<uint32_t>(b->stub_field_count);
        std::copy(compiled_.stub_fields.begin(), compiled_.stub_fields.end(), b->stub_fields);
    }
    return b;
}

void Translator::log_block(const ir::Function& f, const Block& b) {
    std::string text;
    char line[160];
    const auto append = [&](const char* fmt, auto... args) {
        std::snprintf(line, sizeof line, fmt, args...);
        text += line;
    };
    if (log_.on(Log::kInAsm)) {
        append("----------------\nIN: mode=%x\n", f.mode);
        for (unsigned i = 0; i < b.guest_insns; ++i) {
            const uint64_t pc = b.insn_pc(i);
            // What the lifter read was readable a moment ago; behind it, or where it could read nothing, may be no memory.
            uint8_t raw[4];
            unsigned have = 0, length = 0;
            for (const ir::GuestRange& r : std::span(b.ranges, b.range_count))
                if (pc - r.pc < r.bytes) have = static_cast<unsigned>(std::min<uint64_t>(sizeof raw, r.bytes - (pc - r.pc)));
            if (have != 0) std::memcpy(raw, reinterpret_cast<const void*>(opt_.guest_base + pc), have);
            const std::string insn = have != 0 ? arch_.disassemble(pc, {raw, have}, &length) : "(no code here)";
            append("0x%08llx:  ", static_cast<unsigned long long>(pc));
            for (unsigned k = std::min(length, have); k-- > 0;) append("%02x", raw[k]);
            text += length == 2 ? "      " : "  ";
            text += insn.empty() ? "(undefined)" : insn;
            text += '\n';
        }
        text += '\n';
    }
    if (log_.on(Log::kOp)) text += "OP:\n" + ir::print(f, arch_) + "\n";
    if (log_.on(Log::kOpOpt)) {
        ir::Function live = f;
        ir::Sweep sweep;
        sweep.run(live, arch_);
        ir::remove_dead(live, sweep);
        text += "OP after optimization:\n" + ir::print(live, arch_) + "\n";
    }
    if (log_.on(Log::kOutAsm)) {
        append("OUT: [size=%u]\n", b.code_bytes);
        const std::span<const uint8_t> code{cache_.writable(b.host), b.code_bytes};
        for (unsigned at = 0; at < b.code_bytes;) {
            unsigned length = 0;
            const std::string insn = x64::disassemble_host(code.subspan(at), b.host + at, &length);
            append("0x%08llx:  ", static_cast<unsigned long long>(b.host + at));
            if (length == 0) {  // no disassembler in this build, or data: bytes that objdump can be given
                const unsigned n = std::min(16u, b.code_bytes - at);
                for (unsigned k = 0; k < n; ++k) append("%02x", code[at + k]);
                at += n;
            } else {
                text += insn;
                at += length;
            }
            text += '\n';
        }
        text += '\n';
    }
    log_.write(text);
}

}  // namespace myna::jit
