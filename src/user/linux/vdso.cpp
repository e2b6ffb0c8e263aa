#include "user/linux/vdso.h"

#include <elf.h>

#include <cstring>
#include <string>

#include "base/bits.h"

namespace myna::user {

namespace {

uint32_t elf_hash(const char* name) {
    uint32_t h = 0;
    for (; *name != 0; ++name) {
        h = (h << 4) + static_cast<uint8_t>(*name);
        const uint32_t g = h & 0xf0000000;
        if (g != 0) h ^= g >> 24;
        h &= ~g;
    }
    return h;
}

/// The image under construction: parts are appended, their offsets are their addresses.
class Image {
  public:
    uint64_t append(const void* data, size_t size, size_t align) {
        bytes_.resize(align_up(bytes_.size(), align));
        const uint64_t at = bytes_.size();
        const auto* p = static_cast<const uint8_t*>(data);
        bytes_.insert(bytes_.end(), p, p + size);
        return at;
    }
    template <typename T>
    uint64_t append(const std::vector<T>& v, size_t align) { return append(v.data(), v.size() * sizeof(T), align); }
    template <typename T>
    void put(uint64_t at, const T& v) { std::memcpy(bytes_.data() + at, &v, sizeof v); }
    std::vector<uint8_t> take() { return std::move(bytes_); }
    [[nodiscard]] uint64_t size() const { return bytes_.size(); }

  private:
    std::vector<uint8_t> bytes_;
};

}  // namespace

std::vector<uint8_t> build_vdso(const LinuxAbi& abi) {
    const VdsoCode& v = abi.vdso;
    constexpr size_t kHeaders = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr);
    constexpr uint16_t kVersionIndex = 2;
    const char soname[] = "linux-vdso.so.1";
    Image im;
    im.append(std::vector<uint8_t>(kHeaders), 1);

    std::string strings(1, '\0');
    const auto string = [&](const char* s) {
        const auto at = static_cast<uint32_t>(strings.size());
        strings += s;
        strings += '\0';
        return at;
    };
    const uint32_t soname_at = string(soname), version_at = string(v.version);
    const auto count = static_cast<uint32_t>(v.symbols.size() + 1);
    std::vector<Elf64_Sym> syms(1);
    std::vector<uint16_t> versions(1, 0);
    std::vector<uint32_t> hash{1, count, count > 1 ? 1u : 0u};  // one bucket: a chain of all
    hash.push_back(0);
    for (uint32_t i = 1; i < count; ++i) {
        const VdsoSymbol& s = v.symbols[i - 1];
        Elf64_Sym sym{};
        sym.st_name = string(s.name);
        sym.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
        sym.st_shndx = 1;
        sym.st_value = s.offset;  // plus where the code is, below
        sym.st_size = s.size;
        syms.push_back(sym);
        versions.push_back(kVersionIndex);
        hash.push_back(i + 1 < count ? i + 1 : 0);
    }
    struct Verdef {
        Elf64_Verdef def;
        Elf64_Verdaux aux;
    };
    const Verdef defs[2] = {
        {{1, VER_FLG_BASE, 1, 1, elf_hash(soname), sizeof(Elf64_Verdef), sizeof(Verdef)}, {soname_at, 0}},
        {{1, 0, kVersionIndex, 1, elf_hash(v.version), sizeof(Elf64_Verdef), 0}, {version_at, 0}}};

    const uint64_t sym_at = im.append(syms, 8);
    const uint64_t str_at = im.append(strings.data(), strings.size(), 1);
    const uint64_t hash_at = im.append(hash, 8);
    const uint64_t versym_at = im.append(versions, 2);
    const uint64_t verdef_at = im.append(defs, sizeof defs, 8);
    const std::vector<Elf64_Dyn> dyn{{DT_SONAME, {soname_at}},
                                     {DT_HASH, {hash_at}},
                                     {DT_STRTAB, {str_at}},
                                     {DT_SYMTAB, {sym_at}},
                                     {DT_STRSZ, {strings.size()}},
                                     {DT_SYMENT, {sizeof(Elf64_Sym)}},
                                     {DT_VERSYM, {versym_at}},
                                     {DT_VERDEF, {verdef_at}},
                                     {DT_VERDEFNUM, {2}},
                                     {DT_NULL, {0}}};
    const uint64_t dyn_at = im.append(dyn, 8);
    const uint64_t code_at = im.append(v.words.data(), v.words.size_bytes(), kVdsoCode);
    for (uint32_t i = 1; i < count; ++i) {
        syms[i].st_value += code_at;
        im.put(sym_at + i * sizeof(Elf64_Sym), syms[i]);
    }

    Elf64_Ehdr eh{};
    std::memcpy(eh.e_ident, ELFMAG, SELFMAG);
    eh.e_ident[EI_CLASS] = ELFCLASS64;
    eh.e_ident[EI_DATA] = ELFDATA2LSB;
    eh.e_ident[EI_VERSION] = EV_CURRENT;
    eh.e_type = ET_DYN;
    eh.e_machine = abi.arch->elf_machine;
    eh.e_version = EV_CURRENT;
    eh.e_phoff = sizeof(Elf64_Ehdr);
    eh.e_ehsize = sizeof(Elf64_Ehdr);
    eh.e_phentsize = sizeof(Elf64_Phdr);
    eh.e_phnum = 2;
    im.put(0, eh);
    const uint64_t size = im.size();
    const Elf64_Phdr load{PT_LOAD, PF_R | PF_X, 0, 0, 0, size, size, 4096};
    const Elf64_Phdr dynamic{PT_DYNAMIC, PF_R, dyn_at, dyn_at, dyn_at, dyn.size() * sizeof(Elf64_Dyn), dyn.size() * sizeof(Elf64_Dyn), 8};
    im.put(sizeof eh, load);
    im.put(sizeof eh + sizeof load, dynamic);
    return im.take();
}

}  // namespace myna::user
