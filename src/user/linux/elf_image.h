// ElfImage: what the loader needs of an ELF file, checked. Parses bytes only (no files, no mappings): any input gives an
// ElfImage or an error that says what is wrong.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace myna::user {

struct ElfSegment {
    uint64_t vaddr, memsz, offset, filesz, align;
    int prot;  // PROT_*
};

struct ElfImage {
    uint16_t machine = 0;     // EM_*
    uint8_t elf_class = 0;    // 1: 32 bit, 2: 64 bit
    bool big_endian = false;
    bool position_independent = false;  // ET_DYN
    uint32_t flags = 0;       // e_flags
    uint64_t entry = 0;
    uint64_t phdr_offset = 0;
    uint64_t phdr_vaddr = 0;  // where the program headers are in memory, 0: in no segment
    uint16_t phnum = 0, phentsize = 0;
    std::vector<ElfSegment> segments;  // PT_LOAD, ascending, not overlapping by page
    std::string interpreter;  // PT_INTERP, "" for none
    bool executable_stack = false;
    bool has_stack_header = false;

    [[nodiscard]] uint64_t low() const noexcept;   // page of the lowest address
    [[nodiscard]] uint64_t high() const noexcept;  // end of the highest, rounded up to a page
    [[nodiscard]] uint64_t max_align() const noexcept;
};

/// Reads `n` bytes at `offset` of the file into `to`; returns how many there were.
using ReadAt = std::function<size_t(void* to, size_t n, uint64_t offset)>;

/// The identification only (machine, class, byte order): enough to choose the guest. Fails when these are not an ELF's.
Result<ElfImage> parse_elf_ident(std::span<const uint8_t> head);
/// Everything. Messages do not name the file.
Result<ElfImage> parse_elf(const ReadAt& read);
/// The usual name of an e_machine ("ARM", "IBM S/390"), or "machine 123".
std::string elf_machine_name(uint16_t machine, uint8_t elf_class, bool big_endian);

}  // namespace myna::user
