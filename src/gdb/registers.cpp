#include "gdb/registers.h"

#include <cstring>

#include "guest/aarch64/fpcr.h"
#include "guest/aarch64/state.h"
#include "guest/riscv64/state.h"

namespace myna::gdb {

RegisterSet::RegisterSet(std::string architecture, std::vector<Feature> features)
    : architecture_(std::move(architecture)), features_(std::move(features)) {
    for (const Feature& f : features_)
        for (const Register& r : f.registers) {
            sizes_.push_back(static_cast<uint16_t>(r.bits / 8));
            total_ += r.bits / 8;
        }
}

std::string RegisterSet::description(bool linux) const {
    std::string x = "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n<architecture>" + architecture_ + "</architecture>\n";
    if (linux) x += "<osabi>GNU/Linux</osabi>\n";
    for (const Feature& f : features_) {
        x += "<feature name=\"" + f.name + "\">\n" + f.types;
        for (const Register& r : f.registers)
            x += "<reg name=\"" + r.name + "\" bitsize=\"" + std::to_string(r.bits) + "\" type=\"" + r.type + "\"/>\n";
        x += "</feature>\n";
    }
    return x + "</target>\n";
}

namespace {

/// Copies one register after the other between state and bytes.
template <bool kRead>
class Walk {
  public:
    using Bytes = std::conditional_t<kRead, uint8_t*, const uint8_t*>;
    explicit Walk(Bytes at) : at_(at) {}
    template <typename T>
    void operator()(T& reg) { move(&reg, sizeof reg); }
    void move(std::conditional_t<kRead, const void*, void*> reg, size_t n) {
        if constexpr (kRead) std::memcpy(at_, reg, n);
        else std::memcpy(reg, at_, n);
        at_ += n;
    }

  private:
    Bytes at_;
};

class Aarch64 final : public RegisterSet {
    using State = guest::aarch64::State;

  public:
    Aarch64() : RegisterSet("aarch64", features()) {}

    void read(const void* state, uint8_t* bytes) const override {
        const auto& s = *static_cast<const State*>(state);
        Walk<true> w(bytes);
        w(s.x);
        w(s.sp);
        w(s.hdr.pc);
        w(s.nzcv);
        w(s.v);
        const uint32_t fpsr = guest::aarch64::fpsr(s), fpcr = s.fpcr;
        w(fpsr);
        w(fpcr);
        w(s.tpidr_el0);
        // Signed pointers have the code in bits 54..48 (docs/aarch64.md).
        const uint64_t mask = uint64_t{0x7f} << 48;
        w(mask);
        w(mask);
    }
    void write(void* state, const uint8_t* bytes) const override {
        auto& s = *static_cast<State*>(state);
        Walk<false> w(bytes);
        w(s.x);
        w(s.sp);
        w(s.hdr.pc);
        w(s.nzcv);
        s.nzcv &= 0xf0000000;
        w(s.v);
        uint32_t fpsr = 0, fpcr = 0;
        w(fpsr);
        w(fpcr);
        const uint32_t mode = s.hdr.mode;  // Vcpu::state_changed computes it anew
        guest::aarch64::set_fpcr(s, fpcr);
        guest::aarch64::set_fpsr(s, fpsr);
        s.hdr.mode = mode;
        w(s.tpidr_el0);
    }

  private:
    static std::vector<Feature> features() {
        Feature core{"org.gnu.gdb.aarch64.core",
                     "<flags id=\"cpsr_flags\" size=\"4\"><field name=\"V\" start=\"28\" end=\"28\"/><field name=\"C\" start=\"29\" end=\"29\"/>"
                     "<field name=\"Z\" start=\"30\" end=\"30\"/><field name=\"N\" start=\"31\" end=\"31\"/></flags>\n",
                     {}};
        for (int i = 0; i <= 30; ++i) core.registers.push_back({"x" + std::to_string(i), 64, "int"});
        core.registers.push_back({"sp", 64, "data_ptr"});
        core.registers.push_back({"pc", 64, "code_ptr"});
        core.registers.push_back({"cpsr", 32, "cpsr_flags"});

        // A vector register is a union of its views.
        std::string types;
        const auto vector = [&](const char* id, const char* type, int count) {
            types += std::string("<vector id=\"") + id + "\" type=\"" + type + "\" count=\"" + std::to_string(count) + "\"/>\n";
        };
        vector("v2d", "ieee_double", 2);
        vector("v2u", "uint64", 2);
        vector("v2i", "int64", 2);
        vector("v4f", "ieee_single", 4);
        vector("v4u", "uint32", 4);
        vector("v4i", "int32", 4);
        vector("v8f", "ieee_half", 8);
        vector("v8u", "uint16", 8);
        vector("v8i", "int16", 8);
        vector("v16u", "uint8", 16);
        vector("v16i", "int8", 16);
        vector("v1u", "uint128", 1);
        vector("v1i", "int128", 1);
        types += "<union id=\"vnd\"><field name=\"f\" type=\"v2d\"/><field name=\"u\" type=\"v2u\"/><field name=\"s\" type=\"v2i\"/></union>\n"
                 "<union id=\"vns\"><field name=\"f\" type=\"v4f\"/><field name=\"u\" type=\"v4u\"/><field name=\"s\" type=\"v4i\"/></union>\n"
                 "<union id=\"vnh\"><field name=\"f\" type=\"v8f\"/><field name=\"u\" type=\"v8u\"/><field name=\"s\" type=\"v8i\"/></union>\n"
                 "<union id=\"vnb\"><field name=\"u\" type=\"v16u\"/><field name=\"s\" type=\"v16i\"/></union>\n"
                 "<union id=\"vnq\"><field name=\"u\" type=\"v1u\"/><field name=\"s\" type=\"v1i\"/></union>\n"
                 "<union id=\"aarch64v\"><field name=\"d\" type=\"vnd\"/><field name=\"s\" type=\"vns\"/><field name=\"h\" type=\"vnh\"/>"
                 "<field name=\"b\" type=\"vnb\"/><field name=\"q\" type=\"vnq\"/></union>\n";
        Feature fpu{"org.gnu.gdb.aarch64.fpu", types, {}};
        for (int i = 0; i <= 31; ++i) fpu.registers.push_back({"v" + std::to_string(i), 128, "aarch64v"});
        fpu.registers.push_back({"fpsr", 32, "int"});
        fpu.registers.push_back({"fpcr", 32, "int"});
        Feature tls{"org.gnu.gdb.aarch64.tls", "", {{"tpidr", 64, "data_ptr"}}};
        Feature pauth{"org.gnu.gdb.aarch64.pauth", "", {{"pauth_dmask", 64, "int"}, {"pauth_cmask", 64, "int"}}};
        return {core, fpu, tls, pauth};
    }
};

class Riscv64 final : public RegisterSet {
    using State = guest::riscv64::State;

  public:
    Riscv64() : RegisterSet("riscv:rv64", features()) {}

    void read(const void* state, uint8_t* bytes) const override {
        const auto& s = *static_cast<const State*>(state);
        Walk<true> w(bytes);
        w(s.x);
        w(s.hdr.pc);
        w(s.f);
        const uint32_t fcsr = guest::riscv64::fcsr(s), fflags = fcsr & 31, frm = fcsr >> 5;
        w(fflags);
        w(frm);
        w(fcsr);
    }
    void write(void* state, const uint8_t* bytes) const override {
        auto& s = *static_cast<State*>(state);
        const uint32_t before = guest::riscv64::fcsr(s);
        Walk<false> w(bytes);
        w(s.x);
        s.x[0] = 0;
        w(s.hdr.pc);
        w(s.f);
        uint32_t fflags = 0, frm = 0, fcsr = 0;
        w(fflags);
        w(frm);
        w(fcsr);
        // One register under three names: whichever was changed counts.
        if (fcsr == before) fcsr = (fflags & 31) | (frm & 7) << 5;
        guest::riscv64::set_fcsr(s, fcsr);
    }

  private:
    static std::vector<Feature> features() {
        static constexpr const char* kX[] = {"zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
                                             "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
        static constexpr const char* kF[] = {"ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5",
                                             "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};
        Feature cpu{"org.gnu.gdb.riscv.cpu", "", {}};
        for (const char* name : kX) {
            const std::string n = name;
            cpu.registers.push_back({n, 64, n == "ra" ? "code_ptr" : n == "sp" || n == "gp" || n == "tp" || n == "fp" ? "data_ptr" : "int"});
        }
        cpu.registers.push_back({"pc", 64, "code_ptr"});
        Feature fpu{"org.gnu.gdb.riscv.fpu",
                    "<union id=\"riscv_double\"><field name=\"float\" type=\"ieee_single\"/><field name=\"double\" type=\"ieee_double\"/></union>\n", {}};
        for (const char* name : kF) fpu.registers.push_back({name, 64, "riscv_double"});
        for (const char* name : {"fflags", "frm", "fcsr"}) fpu.registers.push_back({name, 32, "int"});
        return {cpu, fpu};
    }
};

}  // namespace

const RegisterSet* RegisterSet::find(const guest::GuestArch& arch) {
    static const Aarch64 aarch64;
    static const Riscv64 riscv64;
    if (arch.name == "aarch64") return &aarch64;
    if (arch.name == "riscv64") return &riscv64;
    return nullptr;
}

}  // namespace myna::gdb
