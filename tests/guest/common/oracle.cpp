#include "guest/common/oracle.h"

#include "base/bits.h"

#if MYNA_HAVE_UNICORN
#include <unicorn/unicorn.h>
#endif

namespace myna::test {

#if MYNA_HAVE_UNICORN

bool have_unicorn() noexcept { return true; }

std::string run_in_unicorn(const GuestUnderTest& guest, const std::vector<uint8_t>& code, uint64_t finish,
                           std::vector<uint8_t>& records, std::vector<uint8_t>& sandbox) {
    int arch = 0, mode = 0;
    if (!guest.unicorn(arch, mode)) return "Unicorn does not have this guest";
    uc_engine* uc = nullptr;
    uc_err err = uc_open(static_cast<uc_arch>(arch), static_cast<uc_mode>(mode), &uc);
    if (err != UC_ERR_OK) return std::string("uc_open: ") + uc_strerror(err);
    const auto map = [&](uint64_t at, const std::vector<uint8_t>& bytes) {
        if (err == UC_ERR_OK) err = uc_mem_map(uc, at, align_up(bytes.size(), 4096), UC_PROT_ALL);
        if (err == UC_ERR_OK) err = uc_mem_write(uc, at, bytes.data(), bytes.size());
    };
    map(kImage, code);
    map(kRecords, records);
    map(kSandbox, sandbox);
    guest.prepare_unicorn(uc);
    if (err == UC_ERR_OK) err = uc_emu_start(uc, kImage, finish, 0, 0);
    if (err == UC_ERR_OK) err = uc_mem_read(uc, kRecords, records.data(), records.size());
    if (err == UC_ERR_OK) err = uc_mem_read(uc, kSandbox, sandbox.data(), sandbox.size());
    uc_close(uc);
    return err == UC_ERR_OK ? std::string{} : std::string("Unicorn: ") + uc_strerror(err);
}

#else

bool have_unicorn() noexcept { return false; }
std::string run_in_unicorn(const GuestUnderTest&, const std::vector<uint8_t>&, uint64_t, std::vector<uint8_t>&, std::vector<uint8_t>&) {
    return "built without Unicorn";
}

#endif

}  // namespace myna::test
