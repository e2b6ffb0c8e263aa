#include "user/linux/elf_image.h"

#include <elf.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/bits.h"

namespace myna::user {

namespace {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kMaxAddress = uint64_t{1} << 56;
constexpr size_t kMaxPhnum = 65536 / sizeof(Elf64_Phdr);  // the kernel's own limit

/// Fields of either byte order.
class Fields {
  public:
    explicit Fields(bool big) : swap_(big == (std::endian::native == std::endian::little)) {}
    template <typename T>
    T operator()(T v) const noexcept { return swap_ ? std::byteswap(v) : v; }

  private:
    bool swap_;
};

struct Phdr {
    uint32_t type, flags;
    uint64_t offset, vaddr, filesz, memsz, align;
};

template <typename Raw>
Phdr widen(const Raw& p, const Fields& f) {
    return {f(p.p_type), f(p.p_flags), f(p.p_offset), f(p.p_vaddr), f(p.p_filesz), f(p.p_memsz), f(p.p_align)};
}

std::unexpected<Error> bad(std::string why) { return fail(ErrorKind::kCorrupt, std::move(why)); }

template <typename Ehdr>
void read_header(const Ehdr& h, const Fields& f, ElfImage& e, uint16_t& type) {
    type = f(h.e_type);
    e.machine = f(h.e_machine);
    e.entry = f(h.e_entry);
    e.flags = f(h.e_flags);
    e.phdr_offset = f(h.e_phoff);
    e.phnum = f(h.e_phnum);
    e.phentsize = f(h.e_phentsize);
}

Result<void> add_segment(ElfImage& e, const Phdr& p) {
    if (p.filesz > p.memsz) return bad("damaged ELF file: a segment has more bytes in the file than in memory");
    if (p.memsz == 0) return {};
    if (p.vaddr > kMaxAddress || p.memsz > kMaxAddress || p.offset > kMaxAddress)
        return bad("damaged ELF file: a segment lies outside of any address space");
    if ((p.vaddr - p.offset) % kPageSize != 0 && p.filesz != 0)
        return bad("ELF file whose segments are not aligned to pages of 4096 bytes");
    if (!e.segments.empty()) {
        const ElfSegment& last = e.segments.back();
        if (p.vaddr < last.vaddr + last.memsz) return bad("damaged ELF file: segments overlap or are not in ascending order");
    }
    const int prot = ((p.flags & PF_R) != 0 ? PROT_READ : 0) | ((p.flags & PF_W) != 0 ? PROT_WRITE : 0) |
                     ((p.flags & PF_X) != 0 ? PROT_EXEC : 0);
    e.segments.push_back({p.vaddr, p.memsz, p.offset, p.filesz, p.align, prot});
    return {};
}

Result<void> read_interpreter(ElfImage& e, const Phdr& p, const ReadAt& read) {
    if (p.filesz < 2 || p.filesz > 4096) return bad("damaged ELF file: the name of its interpreter is empty or too long");
    std::string name(p.filesz, '\0');
    if (read(name.data(), name.size(), p.offset) != name.size()) return bad("damaged ELF file: it ends within the name of its interpreter");
    if (name.back() != '\0') return bad("damaged ELF file: the name of its interpreter has no end");
    name.resize(std::strlen(name.c_str()));
    e.interpreter = std::move(name);
    return {};
}

}  // namespace

uint64_t ElfImage::low() const noexcept { return segments.empty() ? 0 : align_down(segments.front().vaddr, kPageSize); }
uint64_t ElfImage::high() const noexcept {
    return segments.empty() ? 0 : align_up(segments.back().vaddr + segments.back().memsz, kPageSize);
}
uint64_t ElfImage::max_align() const noexcept {
    uint64_t a = kPageSize;
    for (const ElfSegment& s : segments)
        if (std::has_single_bit(s.align) && s.align <= (uint64_t{1} << 30)) a = std::max(a, s.align);
    return a;
}

Result<ElfImage> parse_elf_ident(std::span<const uint8_t> head) {
    if (head.size() < EI_NIDENT + 4 || std::memcmp(head.data(), ELFMAG, SELFMAG) != 0)
        return fail(ErrorKind::kInvalidArgument, "not an ELF program");
    ElfImage e;
    e.elf_class = head[EI_CLASS];
    if (e.elf_class != ELFCLASS32 && e.elf_class != ELFCLASS64) return bad("damaged ELF file: neither of 32 nor of 64 bit");
    if (head[EI_DATA] != ELFDATA2LSB && head[EI_DATA] != ELFDATA2MSB) return bad("damaged ELF file: no byte order given");
    e.big_endian = head[EI_DATA] == ELFDATA2MSB;
    uint16_t machine;
    std::memcpy(&machine, head.data() + 18, 2);
    e.machine = Fields(e.big_endian)(machine);
    return e;
}

Result<ElfImage> parse_elf(const ReadAt& read) {
    uint8_t head[sizeof(Elf64_Ehdr)] = {};
    const size_t got = read(head, sizeof head, 0);
    auto parsed = parse_elf_ident({head, got});
    if (!parsed) return parsed;
    ElfImage e = std::move(*parsed);
    const bool wide = e.elf_class == ELFCLASS64;
    if (got < (wide ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr))) return bad("damaged ELF file: it ends within its header");
    const Fields f(e.big_endian);
    uint16_t type;
    if (wide) {
        Elf64_Ehdr h;
        std::memcpy(&h, head, sizeof h);
        read_header(h, f, e, type);
    } else {
        Elf32_Ehdr h;
        std::memcpy(&h, head, sizeof h);
        read_header(h, f, e, type);
    }
    if (type == ET_REL) return bad("an object file, not linked yet: it cannot be run");
    if (type == ET_CORE) return bad("a core file: it cannot be run");
    if (type != ET_EXEC && type != ET_DYN) return bad("damaged ELF file: of no type that can be run");
    e.position_independent = type == ET_DYN;
    if (e.phentsize != (wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
        return bad("damaged ELF file: program headers of an unknown size");
    if (e.phnum == 0) return bad("ELF file without program headers: it cannot be run");
    if (e.phnum > kMaxPhnum) return bad("damaged ELF file: too many program headers");

    std::vector<uint8_t> table(size_t{e.phnum} * e.phentsize);
    if (e.phdr_offset > kMaxAddress || read(table.data(), table.size(), e.phdr_offset) != table.size())
        return bad("damaged ELF file: it ends within its program headers");
    for (unsigned i = 0; i < e.phnum; ++i) {
        Phdr p;
        const uint8_t* at = table.data() + size_t{i} * e.phentsize;
        if (wide) {
            Elf64_Phdr raw;
            std::memcpy(&raw, at, sizeof raw);
            p = widen(raw, f);
        } else {
            Elf32_Phdr raw;
            std::memcpy(&raw, at, sizeof raw);
            p = widen(raw, f);
        }
        Result<void> r;
        if (p.type == PT_LOAD) r = add_segment(e, p);
        if (p.type == PT_INTERP && e.interpreter.empty()) r = read_interpreter(e, p, read);
        if (p.type == PT_GNU_STACK) {
            e.has_stack_header = true;
            e.executable_stack = (p.flags & PF_X) != 0;
        }
        if (!r) return std::unexpected(r.error());
    }
    if (e.segments.empty()) return bad("ELF file with nothing to load: it cannot be run");
    for (const ElfSegment& s : e.segments)
        if (e.phdr_offset >= s.offset && e.phdr_offset + table.size() <= s.offset + s.filesz)
            e.phdr_vaddr = s.vaddr + (e.phdr_offset - s.offset);
    if (e.high() - e.low() > (uint64_t{1} << 46)) return bad("damaged ELF file: its segments lie too far apart");
    return e;
}

std::string elf_machine_name(uint16_t machine, uint8_t elf_class, bool big_endian) {
    struct Name { uint16_t machine; const char* name; };
    static constexpr Name kNames[] = {
        {EM_386, "32-bit x86"}, {EM_X86_64, "x86-64"}, {EM_ARM, "32-bit Arm"}, {EM_AARCH64, "AArch64"}, {EM_RISCV, "RISC-V"},
        {EM_MIPS, "MIPS"}, {EM_PPC, "32-bit PowerPC"}, {EM_PPC64, "64-bit PowerPC"}, {EM_S390, "S/390"}, {EM_SPARC, "SPARC"},
        {EM_SPARCV9, "64-bit SPARC"}, {EM_68K, "m68k"}, {EM_SH, "SuperH"}, {EM_PARISC, "HP-PA"}, {258, "LoongArch"},
        {EM_OPENRISC, "OpenRISC"}, {EM_XTENSA, "Xtensa"}, {EM_MICROBLAZE, "MicroBlaze"}, {0x9026, "Alpha"}, {164, "Hexagon"},
    };
    std::string name = "machine " + std::to_string(machine);
    for (const Name& n : kNames)
        if (n.machine == machine) name = n.name;
    if (machine == EM_AARCH64 || machine == EM_RISCV || machine == EM_MIPS || machine == 258)
        name += elf_class == ELFCLASS64 ? " (64 bit)" : " (32 bit)";
    if (big_endian && (machine == EM_AARCH64 || machine == EM_ARM || machine == EM_RISCV)) name += ", big-endian";
    return name;
}

}  // namespace myna::user
