#include "guest/common/golden.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "codegen/x64/compiler.h"
#include "ir/builder.h"

namespace myna::test {
namespace {

constexpr uint64_t kPc = 0x400000;
constexpr uint64_t kExec = 0x10000000;

/// One instruction, and code behind it that reads no flags and cannot be fetched further.
class OneInsn final : public guest::CodeFetcher {
  public:
    std::vector<uint8_t> bytes;
    unsigned fetch(uint64_t pc, void* out, unsigned want) override {
        if (pc < kPc || pc >= kPc + bytes.size()) return 0;
        const auto n = static_cast<unsigned>(std::min<uint64_t>(want, kPc + bytes.size() - pc));
        std::memcpy(out, bytes.data() + (pc - kPc), n);
        return n;
    }
};

class HostCode {
  public:
    HostCode(const guest::GuestArch& arch, guest::CpuConfig cpu)
        : arch_(arch), cpu_(std::move(cpu)), compiler_(arch, options()), code_(1 << 16), builder_(function_, arch, {}) {
        const auto stubs = compiler_.emit_stubs(code_, kExec);
        compiler_.use_stubs(*stubs);
        start_ = (stubs->end - kExec + 63) / 64 * 64;
    }

    /// Text of the host code, one instruction a line, and its size up to the exit.
    std::string of(std::vector<uint8_t> insn, unsigned* count, unsigned* bytes) {
        fetcher_.bytes = std::move(insn);
        builder_.begin(kPc, 0);
        arch_.lift_block(builder_, fetcher_, cpu_, {});
        x64::CompiledBlock block;
        const std::span<uint8_t> place = std::span(code_).subspan(start_);
        if (!compiler_.compile(function_, place, kExec + start_, block)) return "    does not compile\n";
        const size_t end = block.exits.empty() ? block.code_bytes : block.exits[0].disp_offset + 4;
        std::string text;
        *count = *bytes = 0;
        for (size_t at = 0; at < end;) {
            unsigned length = 0;
            const std::string line = x64::disassemble_host(place.subspan(at, end - at), kExec + start_ + at, &length);
            if (line.empty() || length == 0) break;
            at += length;
            const bool exit_jump = at == end && line.starts_with("jmp");
            if (exit_jump || line.starts_with("nop")) continue;
            text += "    " + without_addresses(line) + "\n";
            ++*count;
            *bytes += length;
        }
        return text;
    }

  private:
    static x64::Options options() {
        x64::Options o;
        o.host.avx = o.host.avx2 = o.host.bmi1 = o.host.bmi2 = o.host.lzcnt = o.host.fma = o.host.f16c = o.host.movbe =
            o.host.aes = o.host.pclmul = true;
        return o;
    }
    /// Jump targets and literals' addresses change with everything before them.
    static std::string without_addresses(std::string line) {
        if (const size_t at = line.find("0x0000"); at != std::string::npos) {
            size_t end = at + 2;
            while (end < line.size() && std::isxdigit(static_cast<unsigned char>(line[end]))) ++end;
            line.replace(at, end - at, "…");
        }
        if (const size_t at = line.find("rip"); at != std::string::npos) {
            const size_t end = line.find(']', at);
            line.replace(at, end - at, "literal");
        }
        return line;
    }

    const guest::GuestArch& arch_;
    guest::CpuConfig cpu_;
    x64::Compiler compiler_;
    std::vector<uint8_t> code_;
    size_t start_ = 0;
    ir::Function function_;
    ir::Builder builder_;
    OneInsn fetcher_;
};

}  // namespace

std::string check_golden(const guest::GuestArch& arch, const std::string& cpu, const std::string& path) {
    unsigned length = 0;
    const uint8_t ret = 0xc3;
    if (x64::disassemble_host(std::span(&ret, 1), 0, &length).empty()) return "skip: no host disassembler in this build";
    std::ifstream file(path);
    if (!file) return "cannot read " + path;
    const auto config = arch.parse_cpu(cpu);
    if (!config) return config.error().message;
    HostCode host(arch, *config);
    std::string old, fresh, differences;
    std::string head, body;
    const auto finish = [&] {
        if (head.empty()) return;
        const std::string hex = head.substr(0, head.find(' '));
        std::vector<uint8_t> bytes;
        for (size_t i = hex.size(); i >= 2; i -= 2) bytes.push_back(static_cast<uint8_t>(std::stoul(hex.substr(i - 2, 2), nullptr, 16)));
        unsigned insns = 0, size = 0, used = 0;
        const std::string code = host.of(bytes, &insns, &size);
        const std::string text = hex + " " + arch.disassemble(kPc, bytes, &used) + " ; " + std::to_string(insns) + " insns " +
                                 std::to_string(size) + " bytes\n" + code;
        if (text != head + "\n" + body) differences += "was:\n" + head + "\n" + body + "is:\n" + text;
        fresh += text;
        head.clear();
        body.clear();
    };
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with("    ")) {
            body += line + "\n";
            continue;
        }
        finish();
        if (line.empty() || line[0] == '#') fresh += line + "\n";
        else head = line;
    }
    finish();
    if (const char* bless = std::getenv("MYNA_BLESS"); bless != nullptr && !differences.empty()) {
        std::ofstream(path) << fresh;
        return "";
    }
    return differences;
}

}  // namespace myna::test
