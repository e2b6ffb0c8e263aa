// ELF headers: good ones of each guest, and every way a broken one is refused.
#include "user/linux/elf_image.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

#include "guest/aarch64/aarch64.h"
#include "guest/riscv64/riscv64.h"
#include "user/linux/abi_list.h"
#include "user/linux/vdso.h"

namespace myna::user {
namespace {

/// A minimal static program with one segment.
struct Program {
    Elf64_Ehdr eh{};
    Elf64_Phdr ph[2]{};

    Program() {
        std::memcpy(eh.e_ident, ELFMAG, SELFMAG);
        eh.e_ident[EI_CLASS] = ELFCLASS64;
        eh.e_ident[EI_DATA] = ELFDATA2LSB;
        eh.e_type = ET_EXEC;
        eh.e_machine = EM_RISCV;
        eh.e_entry = 0x10100;
        eh.e_phoff = sizeof eh;
        eh.e_phentsize = sizeof(Elf64_Phdr);
        eh.e_phnum = 2;
        ph[0] = {PT_LOAD, PF_R | PF_X, 0, 0x10000, 0, 0x200, 0x200, 0x1000};
        ph[1] = {PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 16};
    }
    [[nodiscard]] Result<ElfImage> parse(size_t size = 0x1000) const {
        std::vector<uint8_t> bytes(size);
        std::memcpy(bytes.data(), &eh, std::min(size, sizeof eh));
        if (size >= sizeof eh + sizeof ph) std::memcpy(bytes.data() + sizeof eh, ph, sizeof ph);
        return parse_elf([&](void* to, size_t n, uint64_t at) -> size_t {
            if (at >= bytes.size()) return 0;
            n = std::min<size_t>(n, bytes.size() - at);
            std::memcpy(to, bytes.data() + at, n);
            return n;
        });
    }
};

TEST(ElfImage, OfAMinimalProgram) {
    const auto e = Program().parse();
    ASSERT_TRUE(e) << e.error().message;
    EXPECT_EQ(e->machine, EM_RISCV);
    EXPECT_EQ(e->low(), 0x10000u);
    EXPECT_EQ(e->high(), 0x11000u);
    EXPECT_EQ(e->phdr_vaddr, 0x10040u);
    EXPECT_EQ(e->segments[0].prot, PROT_READ | PROT_EXEC);
    EXPECT_FALSE(e->executable_stack);
    EXPECT_FALSE(e->position_independent);
}

void expect_error(const Program& p, std::string_view words, size_t size = 0x1000) {
    const auto e = p.parse(size);
    ASSERT_FALSE(e);
    EXPECT_NE(e.error().message.find(words), std::string::npos) << e.error().message;
}

TEST(ElfImage, SaysWhatIsWrong) {
    Program p;
    p.eh.e_ident[0] = 'X';
    expect_error(p, "not an ELF program");
    p = {};
    p.eh.e_type = ET_REL;
    expect_error(p, "object file");
    p = {};
    p.eh.e_phentsize = 3;
    expect_error(p, "program headers of an unknown size");
    p = {};
    p.eh.e_phoff = 0x2000;
    expect_error(p, "ends within its program headers");
    p = {};
    p.ph[0].p_filesz = 0x300;
    expect_error(p, "more bytes in the file");
    p = {};
    p.ph[0].p_offset = 0x10;
    expect_error(p, "aligned");
    p = {};
    p.ph[0].p_type = PT_NULL;
    expect_error(p, "nothing to load");
    p = {};
    p.ph[1] = p.ph[0];
    expect_error(p, "overlap");
    p = {};
    p.ph[1] = {PT_INTERP, PF_R, 0x900000, 0, 0, 20, 20, 1};
    expect_error(p, "interpreter");
    expect_error(Program(), "ends within its header", 40);
    expect_error(Program(), "not an ELF program", 3);
}

TEST(ElfImage, TheGeneratedVdsoIsOne) {
    for (const LinuxAbi* abi : {&kAbiAarch64, &kAbiRiscv64}) {
        const std::vector<uint8_t> image = build_vdso(*abi);
        ASSERT_LE(image.size(), kVdsoClock);
        const auto e = parse_elf([&](void* to, size_t n, uint64_t at) -> size_t {
            if (at + n > image.size()) return 0;
            std::memcpy(to, image.data() + at, n);
            return n;
        });
        ASSERT_TRUE(e) << e.error().message;
        EXPECT_EQ(e->machine, abi->arch->elf_machine);
        EXPECT_EQ(std::memcmp(image.data() + kVdsoCode, abi->vdso.words.data(), abi->vdso.words.size_bytes()), 0);
    }
}

TEST(ElfImage, MachinesHaveNames) {
    EXPECT_EQ(elf_machine_name(EM_ARM, 1, false), "32-bit Arm");
    EXPECT_EQ(elf_machine_name(EM_RISCV, 1, false), "RISC-V (32 bit)");
    EXPECT_EQ(elf_machine_name(9999, 2, false), "machine 9999");
}

}  // namespace
}  // namespace myna::user
