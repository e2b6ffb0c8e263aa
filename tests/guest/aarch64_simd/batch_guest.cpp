// Record: x0..x30, nzcv, fpcr, fpsr, v0..v31. x28 points to the record, x30 is the frame's link register, x26 and x27
// are base registers, x25 is a small index.
#include "batch_guest.h"

#include <cstring>

#include "guest/aarch64/aarch64.h"
#include "guest/aarch64/cpu_models.h"
#include "guest/aarch64/decode.inc.h"

namespace myna::test {

namespace {

using namespace guest;
using aarch64::Style;

constexpr uint32_t kNzcvAt = 256, kFpcrAt = 264, kFpsrAt = 272, kVAt = 288, kRecordBytes = 800;
constexpr unsigned kIndex = 25, kBase = 26, kRecord = 28, kLink = 30;
constexpr uint32_t kNzcv = 0x4200, kFpcr = 0x4400, kFpsr = 0x4420;

struct Code {
    std::vector<uint8_t>& out;
    void word(uint32_t w) {
        for (unsigned n = 0; n < 4; ++n) out.push_back(static_cast<uint8_t>(w >> (8 * n)));
    }
    void ldr(unsigned t, uint32_t at) { word(0xf9400000 | at / 8 << 10 | kRecord << 5 | t); }
    void str(unsigned t, uint32_t at) { word(0xf9000000 | at / 8 << 10 | kRecord << 5 | t); }
    void ldr_q(unsigned t, uint32_t at) { word(0x3dc00000 | at / 16 << 10 | kRecord << 5 | t); }
    void str_q(unsigned t, uint32_t at) { word(0x3d800000 | at / 16 << 10 | kRecord << 5 | t); }
    void msr(uint32_t reg, unsigned t) { word(0xd51b0000 | reg | t); }
    void mrs(unsigned t, uint32_t reg) { word(0xd53b0000 | reg | t); }
    void li(unsigned d, uint64_t v) {
        word(0xd2800000 | static_cast<uint32_t>(v & 0xffff) << 5 | d);
        word(0xf2a00000 | static_cast<uint32_t>(v >> 16 & 0xffff) << 5 | d);
    }
    void ret() { word(0xd65f0000 | kLink << 5); }
};

class Aarch64Simd final : public GuestUnderTest {
  public:
    Aarch64Simd(CpuConfig cpu, std::vector<std::string> qemu, uint32_t fpcr_bits)
        : cpu_(std::move(cpu)), qemu_(std::move(qemu)), fpcr_bits_(fpcr_bits) {
        for (unsigned n = 0; n < 31; ++n)
            fields_.push_back({"x" + std::to_string(n), static_cast<uint16_t>(n * 8), 8, n != kRecord && n != kLink});
        fields_.push_back({"nzcv", kNzcvAt, 8, true});
        fields_.push_back({"fpcr", kFpcrAt, 8, true});
        fields_.push_back({"fpsr", kFpsrAt, 8, true});
        for (unsigned n = 0; n < 32; ++n) fields_.push_back({"v" + std::to_string(n), static_cast<uint16_t>(kVAt + n * 16), 16, true});
    }

    const GuestArch& arch() const override { return aarch64::kArch; }
    const DecodeTable& table() const override { return aarch64::decode_table(); }
    const CpuConfig& cpu() const override { return cpu_; }
    std::span<const RecordField> fields() const override { return fields_; }
    uint32_t record_bytes() const override { return kRecordBytes; }
    std::vector<std::string> qemu_command() const override { return qemu_; }

    void random_record(Rng& rng, uint8_t* input, uint64_t stream, uint64_t record) const override {
        const auto put = [&](uint32_t at, uint64_t v) { std::memcpy(input + at, &v, 8); };
        for (unsigned n = 0; n < 31; ++n) put(n * 8, interesting_int(rng));
        put(kIndex * 8, rng() % 64);
        put(kBase * 8, kSandboxBase);
        put((kBase + 1) * 8, kSandboxBase);
        put(kRecord * 8, record);
        put(kLink * 8, stream);
        put(kNzcvAt, (rng() & 15) << 28);
        put(kFpcrAt, rng() & fpcr_bits_);
        put(kFpsrAt, rng() & 1 ? rng() & 0x0800001f : 0);
        for (unsigned n = 0; n < 64; ++n) put(kVAt + n * 8, random_half(rng));
    }

    bool make_safe(StreamInsn& insn, StreamContext& ctx) const override {
        if ((insn.raw & 0xbe000000) == 0x0c000000) {  // structures
            insn.raw = (insn.raw & ~(31u << 5)) | (kBase + static_cast<uint32_t>(ctx.rng() & 1)) << 5;
            if ((insn.raw >> 23 & 1) && (insn.raw >> 16 & 31) != 31) insn.raw = (insn.raw & ~(31u << 16)) | kIndex << 16;
        }
        for (const TextPiece& t : insn.row->text) {
            const auto style = static_cast<Style>(t.style);
            if (t.field < 0 || insn.row->fields[static_cast<size_t>(t.field)].name != "rd") continue;
            const uint32_t rd = insn.raw & 31;
            if ((style == Style::w || style == Style::x || style == Style::gr) && rd >= kIndex && rd != 31) insn.raw -= 12;
        }
        return true;
    }
    bool is_branch(const DecodeRow&) const override { return false; }
    void set_branch_target(StreamInsn&, int64_t) const override {}

    void emit_entry(std::vector<uint8_t>& out, uint64_t) const override { Code{out}.li(kRecord, kRecords); }
    void emit_call(std::vector<uint8_t>& out, uint64_t pc, uint64_t target) const override {
        Code{out}.word(0x94000000 | (static_cast<uint32_t>((target - pc) >> 2) & 0x03ffffff));
    }
    void emit_restore(std::vector<uint8_t>& out) const override {
        Code c{out};
        for (const auto& [at, reg] : {std::pair{kFpcrAt, kFpcr}, {kFpsrAt, kFpsr}, {kNzcvAt, kNzcv}}) {
            c.ldr(0, at);
            c.msr(reg, 0);
        }
        for (unsigned n = 0; n < 32; ++n) c.ldr_q(n, kVAt + n * 16);
        for (unsigned n = 0; n < 30; ++n)
            if (n != kRecord) c.ldr(n, n * 8);
        c.ret();
    }
    void emit_save(std::vector<uint8_t>& out) const override {
        Code c{out};
        for (unsigned n = 0; n < 31; ++n) c.str(n, kRecordBytes + n * 8);
        for (unsigned n = 0; n < 32; ++n) c.str_q(n, kRecordBytes + kVAt + n * 16);
        for (const auto& [at, reg] : {std::pair{kFpcrAt, kFpcr}, {kFpsrAt, kFpsr}, {kNzcvAt, kNzcv}}) {
            c.mrs(0, reg);
            c.str(0, kRecordBytes + at);
        }
        c.word(0x91000000 | 2 * kRecordBytes << 10 | kRecord << 5 | kRecord);
        c.ret();
    }
    void emit_finish(std::vector<uint8_t>& out, uint64_t record_area_bytes) const override {
        constexpr uint64_t kSysWrite = 64, kSysExit = 93;
        constexpr uint32_t kSvc = 0xd4000001;
        Code c{out};
        const auto write = [&](uint64_t at, uint64_t bytes) {
            c.li(8, kSysWrite);
            c.li(0, 1);
            c.li(1, at);
            c.li(2, bytes);
            c.word(kSvc);
        };
        write(kRecords, record_area_bytes);
        write(kSandbox, kSandboxBytes);
        c.li(8, kSysExit);
        c.li(0, 0);
        c.word(kSvc);
    }

  private:
    static uint64_t random_half(Rng& rng) {
        switch (rng() % 5) {
            case 0: return interesting_int(rng);
            case 1: return interesting_fp(rng, 64);
            case 2: return interesting_fp(rng, 32) | interesting_fp(rng, 32) << 32;
            case 3: return interesting_fp(rng, 16) | interesting_fp(rng, 16) << 16 | interesting_fp(rng, 16) << 32 | interesting_fp(rng, 16) << 48;
            default: return rng();
        }
    }

    CpuConfig cpu_;
    std::vector<std::string> qemu_;
    uint32_t fpcr_bits_;
    std::vector<RecordField> fields_;
};

}  // namespace

std::unique_ptr<GuestUnderTest> make_aarch64_simd(const std::string& cpu, std::vector<std::string> qemu, uint32_t fpcr_bits) {
    auto cfg = aarch64::parse_cpu(cpu);
    return cfg ? std::make_unique<Aarch64Simd>(std::move(*cfg), std::move(qemu), fpcr_bits) : nullptr;
}

}  // namespace myna::test
