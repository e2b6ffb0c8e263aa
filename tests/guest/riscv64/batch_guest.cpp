// Record: x0..x31, f0..f31, fcsr. gp points to the record, tp is the frame's link register, sp and s0 are base registers.
#include "guest/riscv64/batch_guest.h"

#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "guest/riscv64/cpu_models.h"
#include "guest/riscv64/decode.inc.h"
#include "guest/riscv64/disasm.h"
#include "guest/riscv64/riscv64.h"

#if MYNA_HAVE_UNICORN
#include <unicorn/unicorn.h>
#endif

namespace myna::test {

namespace {

using namespace guest;
using riscv64::Style;

constexpr unsigned kSp = 2, kGp = 3, kTp = 4, kT0 = 5, kS0 = 8, kA0 = 10, kA1 = 11, kA2 = 12, kA7 = 17;
constexpr uint32_t kFOffset = 256, kFcsrOffset = 512, kRecordBytes = 520;
constexpr uint32_t kFcsrCsr = 3;

struct Code {
    std::vector<uint8_t>& out;
    void word(uint32_t w) {
        for (unsigned n = 0; n < 4; ++n) out.push_back(static_cast<uint8_t>(w >> (8 * n)));
    }
    void i_type(uint32_t op, uint32_t f3, unsigned rd, unsigned rs1, uint32_t imm) { word(imm << 20 | rs1 << 15 | f3 << 12 | rd << 7 | op); }
    void s_type(uint32_t op, uint32_t f3, unsigned rs2, unsigned rs1, uint32_t imm) {
        word((imm >> 5 & 0x7f) << 25 | rs2 << 20 | rs1 << 15 | f3 << 12 | (imm & 31) << 7 | op);
    }
    void addi(unsigned rd, unsigned rs1, uint32_t imm) { i_type(0x13, 0, rd, rs1, imm); }
    void ld(unsigned rd, unsigned rs1, uint32_t imm) { i_type(0x03, 3, rd, rs1, imm); }
    void fld(unsigned rd, unsigned rs1, uint32_t imm) { i_type(0x07, 3, rd, rs1, imm); }
    void sd(unsigned rs2, unsigned rs1, uint32_t imm) { s_type(0x23, 3, rs2, rs1, imm); }
    void fsd(unsigned rs2, unsigned rs1, uint32_t imm) { s_type(0x27, 3, rs2, rs1, imm); }
    void lui(unsigned rd, uint64_t v) { word(static_cast<uint32_t>(v & 0xfffff000) | rd << 7 | 0x37); }
    void li(unsigned rd, uint64_t v) {
        lui(rd, v + 0x800);
        addi(rd, rd, static_cast<uint32_t>(v & 0xfff));
    }
    void csrrw(unsigned rs1, uint32_t csr) { i_type(0x73, 1, 0, rs1, csr); }
    void csrr(unsigned rd, uint32_t csr) { i_type(0x73, 2, rd, 0, csr); }
    void jr(unsigned rs1) { i_type(0x67, 0, 0, rs1, 0); }
    void ecall() { word(0x73); }
};

uint32_t jal_bits(int64_t d) {
    const auto u = static_cast<uint32_t>(d);
    return (u >> 20 & 1) << 31 | (u >> 1 & 0x3ff) << 21 | (u >> 11 & 1) << 20 | (u >> 12 & 0xff) << 12;
}
uint32_t branch_bits(int64_t d) {
    const auto u = static_cast<uint32_t>(d);
    return (u >> 12 & 1) << 31 | (u >> 5 & 0x3f) << 25 | (u >> 1 & 0xf) << 8 | (u >> 11 & 1) << 7;
}
uint32_t cj_bits(int64_t d) {
    const auto u = static_cast<uint32_t>(d);
    const auto at = [&](unsigned from, unsigned to) { return (u >> from & 1) << to; };
    return at(11, 12) | at(4, 11) | at(9, 10) | at(8, 9) | at(10, 8) | at(6, 7) | at(7, 6) | at(3, 5) | at(2, 4) | at(1, 3) | at(5, 2);
}
uint32_t cb_bits(int64_t d) {
    const auto u = static_cast<uint32_t>(d);
    const auto at = [&](unsigned from, unsigned to) { return (u >> from & 1) << to; };
    return at(8, 12) | at(4, 11) | at(3, 10) | at(7, 6) | at(6, 5) | at(2, 4) | at(1, 3) | at(5, 2);
}

bool one_of(std::string_view s, std::initializer_list<std::string_view> list) {
    return std::find(list.begin(), list.end(), s) != list.end();
}

class Riscv64 final : public GuestUnderTest {
  public:
    Riscv64(CpuConfig cpu, std::vector<std::string> qemu) : cpu_(std::move(cpu)), qemu_(std::move(qemu)) {
        for (unsigned n = 0; n < 32; ++n)
            fields_.push_back({riscv64::int_register_name(n), static_cast<uint16_t>(n * 8), 8, n != 0 && n != kGp && n != kTp});
        for (unsigned n = 0; n < 32; ++n)
            fields_.push_back({riscv64::fp_register_name(n), static_cast<uint16_t>(kFOffset + n * 8), 8, true});
        fields_.push_back({"fcsr", kFcsrOffset, 8, true});
    }

    const GuestArch& arch() const override { return riscv64::kArch; }
    const DecodeTable& table() const override { return riscv64::decode_table(); }
    const CpuConfig& cpu() const override { return cpu_; }
    std::span<const RecordField> fields() const override { return fields_; }
    uint32_t record_bytes() const override { return kRecordBytes; }
    std::vector<std::string> qemu_command() const override { return qemu_; }
    uint32_t elf_flags() const override { return 5; }  // RVC, double-float ABI

    void random_record(Rng& rng, uint8_t* input, uint64_t stream, uint64_t record) const override {
        const auto put = [&](uint32_t at, uint64_t v) { std::memcpy(input + at, &v, 8); };
        for (unsigned n = 1; n < 32; ++n) put(n * 8, interesting_int(rng));
        put(kGp * 8, record);
        put(kTp * 8, stream);
        put(kSp * 8, kSandboxBase);
        put(kS0 * 8, kSandboxBase);
        for (unsigned n = 0; n < 32; ++n) put(kFOffset + n * 8, random_fp(rng));
        const uint64_t frm = rng() % 3 ? 0 : rng() % 5;
        put(kFcsrOffset, frm << 5 | (rng() & 1 ? rng() & 31 : 0));
    }

    bool make_safe(StreamInsn& insn, StreamContext& ctx) const override {
        const DecodeRow& row = *insn.row;
        const std::string_view h = row.handler;
        if (one_of(h, {"ecall", "ebreak", "sret", "mret", "wfi", "sfence_vma", "cbo_inval", "jalr"})) return false;
        const bool atomic = h == "lr" || h == "sc" || h.starts_with("amo");
        if (atomic || one_of(h, {"load", "store", "fload", "fstore", "cbo_manage", "cbo_zero"})) {
            if (row.width == 32) insn.raw = (insn.raw & ~(31u << 15)) | (ctx.rng() & 1 ? kSp : kS0) << 15;
            else if (is_field(row, "rs1")) insn.raw &= ~(7u << 7);  // x8
        }
        const RowMatch m{&row, insn.raw};
        if (h == "sc" && ctx.reserved != static_cast<unsigned>(m.field("size"))) return false;
        if (h.starts_with("amocas") && m.field("rd") == 0) return false;  // QEMU compares with noise
        if (h == "csr" && !safe_csr(m)) return false;
        if (writes_reserved(m)) return false;
        if (h == "lr") ctx.reserved = static_cast<unsigned>(m.field("size"));
        if (h == "sc") ctx.reserved = 0;
        return true;
    }
    bool is_branch(const DecodeRow& row) const override { return row.handler == "branch" || row.handler == "jal"; }
    void set_branch_target(StreamInsn& i, int64_t d) const override {
        const bool jump = i.row->handler == "jal";
        const uint32_t bits = i.bytes == 4 ? (jump ? jal_bits(d) : branch_bits(d)) : jump ? cj_bits(d) : cb_bits(d);
        const uint32_t mask = i.bytes == 4 ? (jump ? jal_bits(-1) : branch_bits(-1)) : jump ? cj_bits(-1) : cb_bits(-1);
        i.raw = (i.raw & ~mask) | bits;
    }

    void emit_entry(std::vector<uint8_t>& out, uint64_t) const override { Code{out}.lui(kGp, kRecords); }
    void emit_call(std::vector<uint8_t>& out, uint64_t pc, uint64_t target) const override {
        Code{out}.word(jal_bits(static_cast<int64_t>(target - pc)) | kTp << 7 | 0x6f);
    }
    void emit_restore(std::vector<uint8_t>& out) const override {
        Code c{out};
        c.ld(kT0, kGp, kFcsrOffset);
        c.csrrw(kT0, kFcsrCsr);
        c.word(0x1801a02f);  // sc.w zero, zero, (gp): an SC whose LR was branched over is to find no reservation of another stream's
        for (unsigned n = 0; n < 32; ++n) c.fld(n, kGp, kFOffset + n * 8);
        for (unsigned n = 1; n < 32; ++n)
            if (n != kGp && n != kTp) c.ld(n, kGp, n * 8);
        c.jr(kTp);
    }
    void emit_save(std::vector<uint8_t>& out) const override {
        Code c{out};
        for (unsigned n = 1; n < 32; ++n) c.sd(n, kGp, kRecordBytes + n * 8);
        for (unsigned n = 0; n < 32; ++n) c.fsd(n, kGp, kRecordBytes + kFOffset + n * 8);
        c.csrr(kT0, kFcsrCsr);
        c.sd(kT0, kGp, kRecordBytes + kFcsrOffset);
        c.addi(kGp, kGp, 2 * kRecordBytes);
        c.jr(kTp);
    }
    void emit_finish(std::vector<uint8_t>& out, uint64_t record_area_bytes) const override {
        constexpr uint64_t kSysWrite = 64, kSysExit = 93;
        Code c{out};
        const auto write = [&](uint64_t at, uint64_t bytes) {
            c.li(kA7, kSysWrite);
            c.li(kA0, 1);
            c.lui(kA1, at);
            c.li(kA2, bytes);
            c.ecall();
        };
        write(kRecords, record_area_bytes);
        write(kSandbox, kSandboxBytes);
        c.li(kA7, kSysExit);
        c.li(kA0, 0);
        c.ecall();
    }

#if MYNA_HAVE_UNICORN
    bool unicorn(int& a, int& mode) const override {
        a = UC_ARCH_RISCV;
        mode = UC_MODE_RISCV64;
        return true;
    }
    void prepare_unicorn(void* engine) const override {
        uint64_t fs_dirty = 0x6000;
        uc_reg_write(static_cast<uc_engine*>(engine), UC_RISCV_REG_MSTATUS, &fs_dirty);
    }
#endif

  private:
    static uint64_t random_fp(Rng& rng) {
        switch (rng() % 10) {
            case 0: case 1: case 2: case 3: return 0xffffffff00000000 | interesting_fp(rng, 32);
            case 4: case 5: case 6: return interesting_fp(rng, 64);
            case 7: case 8: return 0xffffffffffff0000 | interesting_fp(rng, 16);
            default: return rng();  // most likely not a boxed value
        }
    }
    /// The field has bits of its own in the instruction.
    static bool is_field(const DecodeRow& row, std::string_view name) {
        for (const DecodeField& f : row.fields)
            if (f.name == name)
                for (const FieldPiece& p : f.pieces)
                    if (p.lo != FieldPiece::kConstant) return true;
        return false;
    }
    static bool writes_reserved(const RowMatch& m) {
        const auto reserved = [](int64_t r) { return r == kSp || r == kGp || r == kTp || r == kS0; };
        for (const TextPiece& t : m.row->text) {
            if (t.field < 0 || m.row->fields[static_cast<size_t>(t.field)].name != "rd") continue;
            const int64_t rd = m.field("rd");
            if (t.style == static_cast<uint8_t>(Style::x)) return reserved(rd);
            if (t.style == static_cast<uint8_t>(Style::xpair)) return reserved(rd * 2) || reserved(rd * 2 + 1);
        }
        return false;
    }
    /// Only what leaves a rounding mode that exists.
    static bool safe_csr(const RowMatch& m) {
        constexpr int64_t kFflags = 1, kFrm = 2, kFcsr = 3, kWrite = 1;
        const int64_t csr = m.field("csr"), src = m.field("src"), op = m.field("op");
        if (csr == kFflags) return true;
        if (csr != kFrm && csr != kFcsr) return false;
        if (op != kWrite) return src == 0;
        return m.field("imm") && (csr == kFcsr || (src & 7) <= 4);
    }

    CpuConfig cpu_;
    std::vector<std::string> qemu_;
    std::vector<RecordField> fields_;
};

}  // namespace

std::unique_ptr<GuestUnderTest> make_riscv64(const std::string& cpu, std::vector<std::string> qemu) {
    auto cfg = riscv64::parse_cpu(cpu);
    return cfg ? std::make_unique<Riscv64>(std::move(*cfg), std::move(qemu)) : nullptr;
}

}  // namespace myna::test
