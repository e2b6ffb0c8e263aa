// What the lifter fuzzers share: any bytes as code, lifted, verified, compiled, disassembled. Nothing may crash or hang,
// and the IR must be well formed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "codegen/x64/compiler.h"
#include "guest/common/arch.h"
#include "ir/builder.h"
#include "ir/verifier.h"

namespace myna::fuzz {

class BytesFetcher final : public guest::CodeFetcher {
  public:
    BytesFetcher(uint64_t pc, std::span<const uint8_t> bytes) : pc_(pc), bytes_(bytes) {}
    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        if (pc - pc_ >= bytes_.size()) return 0;
        const auto n = static_cast<unsigned>(std::min<uint64_t>(want, bytes_.size() - (pc - pc_)));
        std::memcpy(out, bytes_.data() + (pc - pc_), n);
        return n;
    }

  private:
    uint64_t pc_;
    std::span<const uint8_t> bytes_;
};

/// The first bytes choose mode bits; the rest is code at an address whose page offset they also choose.
inline int lift_any(const guest::GuestArch& arch, std::span<const uint8_t> data) {
    static const guest::CpuConfig cpu = *arch.parse_cpu("max");
    static ir::Function function;
    static ir::Builder builder(function, arch, {});
    static x64::Compiler* const compiler = [&arch] {
        x64::Options options;
        if (auto host = x64::HostFeatures::detect()) options.host = *host;
        return new x64::Compiler(arch, options);
    }();
    static std::vector<uint8_t> code(1 << 20);
    static bool ready = false;
    constexpr uint64_t kExec = 0x10000000;
    static size_t used = 0;
    if (!ready) {
        const auto stubs = compiler->emit_stubs(code, kExec);
        if (!stubs) std::abort();
        compiler->use_stubs(*stubs);
        used = stubs->end - kExec;
        ready = true;
    }
    if (data.size() < 4) return 0;
    const uint32_t mode = data[0] & 0x3f;
    const uint64_t pc = 0x400000 + (data[1] << 4 | data[2]) % 4096 / 4 * 4;
    data = data.subspan(4);
    BytesFetcher fetcher(pc, data);
    builder.begin(pc, mode);
    arch.lift_block(builder, fetcher, cpu, {});
    if (const std::string fault = ir::verify(function, arch); !fault.empty()) {
        std::fprintf(stderr, "%s\n", fault.c_str());
        std::abort();
    }
    x64::CompiledBlock out;
    const size_t at = (used + 15) / 16 * 16;
    if (!compiler->compile(function, std::span(code).subspan(at), kExec + at, out)) {
        std::fprintf(stderr, "a block of %zu IR instructions does not fit\n", function.insts.size());
        std::abort();
    }
    unsigned length = 0;
    (void)arch.disassemble(pc, data, &length);
    return 0;
}

}  // namespace myna::fuzz
