// The loader: an ELF program (and its interpreter) into the guest's address space, the first stack, the auxiliary vector.
//
//   load_program ─▶ program segments ─▶ interpreter under -L ─▶ vDSO ─▶ brk ─▶ stack: strings, auxv, envp, argv, argc ◀─ sp
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "user/linux/elf_image.h"
#include "user/linux/thread.h"

namespace myna::user {

/// A program file, opened and parsed.
struct ProgramFile {
    int fd = -1;
    std::string path;
    ElfImage elf;
};
/// Opens and parses `path` (or takes `fd` where it is not -1). Errors name the file and say what to do.
Result<ProgramFile> open_program(const std::string& path, int fd = -1);

struct StartState {
    uint64_t entry, sp;
};
/// Maps everything and builds the stack. `memory` was started. Closes the files.
Result<StartState> load_program(Process& p, ProgramFile& file, const std::vector<std::string>& args,
                                const std::vector<std::string>& env);

}  // namespace myna::user
