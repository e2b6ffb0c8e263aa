// GPT (UEFI 2.10, 5.3) and MBR tables: the last partition grows to the end of the disk.
//
//   GPT: protective MBR · header · entries · … partitions … · entries (copy) · header (copy)
//   Written in this order, so that one good table is always there: entries and header at the end, then those at the start.
#include "img/partitions.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace myna::img {

namespace {

constexpr uint64_t kSector = 512;

uint32_t crc32(std::span<const uint8_t> b) {
    uint32_t crc = ~0u;
    for (const uint8_t byte : b) {
        crc ^= byte;
        for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}
template <typename T>
T le(const uint8_t* p) {
    T v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <typename T>
void put(uint8_t* p, T v) {
    std::memcpy(p, &v, sizeof v);
}

Task<Result<std::string>> grow_gpt(Node& disk, std::vector<uint8_t> header) {
    const uint32_t header_bytes = le<uint32_t>(&header[12]);
    const uint64_t entries_at = le<uint64_t>(&header[72]);
    const uint32_t count = le<uint32_t>(&header[80]), entry_bytes = le<uint32_t>(&header[84]);
    if (header_bytes < 92 || header_bytes > kSector || entry_bytes < 128 || entry_bytes > 4096 || count == 0 || count > 4096 || entries_at < 2 || entries_at > disk.size() / kSector)
        co_return fail(ErrorKind::kCorrupt, disk.filename() + ": the GPT header is damaged; nothing was changed in the partition table");
    const uint32_t stored = le<uint32_t>(&header[16]);
    put<uint32_t>(&header[16], 0);
    if (crc32({header.data(), header_bytes}) != stored) co_return fail(ErrorKind::kCorrupt, disk.filename() + ": the checksum of the GPT header is wrong; repair the partition table first");
    const uint64_t table_sectors = (uint64_t{count} * entry_bytes + kSector - 1) / kSector;
    std::vector<uint8_t> table(table_sectors * kSector);
    if (auto r = co_await disk.read(entries_at * kSector, IoVec(table)); !r) co_return std::unexpected(r.error());
    if (crc32({table.data(), size_t{count} * entry_bytes}) != le<uint32_t>(&header[88]))
        co_return fail(ErrorKind::kCorrupt, disk.filename() + ": the checksum of the GPT entries is wrong; repair the partition table first");
    const uint64_t sectors = disk.size() / kSector;
    const uint64_t last_usable = sectors - 2 - table_sectors;
    uint32_t last = count;
    uint64_t last_end = 0;
    for (uint32_t i = 0; i < count; ++i) {
        const uint8_t* e = &table[size_t{i} * entry_bytes];
        if (std::all_of(e, e + 16, [](uint8_t b) { return b == 0; })) continue;
        if (const uint64_t end = le<uint64_t>(e + 40); end >= last_end) {
            last = i;
            last_end = end;
        }
    }
    if (last == count) co_return fail(ErrorKind::kInvalidArgument, disk.filename() + ": the partition table has no partition");
    // Whole mebibytes keep the end aligned for every kind of disk.
    const uint64_t end = std::max(last_end, (last_usable + 1) / 2048 * 2048 - 1);
    if (last_end > last_usable) co_return fail(ErrorKind::kInvalidArgument, disk.filename() + ": the last partition reaches behind the end of the disk; it was not changed");
    put<uint64_t>(&table[size_t{last} * entry_bytes + 40], end);
    put<uint64_t>(&header[48], last_usable);
    put<uint32_t>(&header[88], crc32({table.data(), size_t{count} * entry_bytes}));
    const auto sealed = [&](uint64_t own, uint64_t other, uint64_t entries) {
        std::vector<uint8_t> h = header;
        put<uint64_t>(&h[24], own);
        put<uint64_t>(&h[32], other);
        put<uint64_t>(&h[72], entries);
        put<uint32_t>(&h[16], 0);
        put<uint32_t>(&h[16], crc32({h.data(), header_bytes}));
        return h;
    };
    std::vector<uint8_t> second = sealed(sectors - 1, 1, sectors - 1 - table_sectors), first = sealed(1, sectors - 1, entries_at);
    if (auto r = co_await disk.write((sectors - 1 - table_sectors) * kSector, IoVec(table)); !r) co_return std::unexpected(r.error());
    if (auto r = co_await disk.write((sectors - 1) * kSector, IoVec(second)); !r) co_return std::unexpected(r.error());
    if (auto r = co_await disk.flush(); !r) co_return std::unexpected(r.error());
    if (auto r = co_await disk.write(entries_at * kSector, IoVec(table)); !r) co_return std::unexpected(r.error());
    if (auto r = co_await disk.write(kSector, IoVec(first)); !r) co_return std::unexpected(r.error());
    // The protective MBR covers the disk, as far as 32 bits can say.
    std::vector<uint8_t> mbr(kSector);
    if (auto r = co_await disk.read(0, IoVec(mbr)); !r) co_return std::unexpected(r.error());
    for (size_t i = 0; i < 4; ++i)
        if (uint8_t* e = &mbr[446 + 16 * i]; e[4] == 0xEE) put<uint32_t>(e + 12, static_cast<uint32_t>(std::min<uint64_t>(sectors - 1, UINT32_MAX)));
    if (auto r = co_await disk.write(0, IoVec(mbr)); !r) co_return std::unexpected(r.error());
    if (auto r = co_await disk.flush(); !r) co_return std::unexpected(r.error());
    co_return text("Partition %u (GPT) grew from %s to %s; the file system in it has to be grown too.", last + 1,
                   human_size((last_end + 1 - le<uint64_t>(&table[size_t{last} * entry_bytes + 32])) * kSector).c_str(),
                   human_size((end + 1 - le<uint64_t>(&table[size_t{last} * entry_bytes + 32])) * kSector).c_str());
}

}  // namespace

Task<Result<std::string>> grow_last_partition(Node& disk) {
    if (disk.size() < 128 * kSector) co_return fail(ErrorKind::kInvalidArgument, disk.filename() + ": the disk is too small to have partitions");
    std::vector<uint8_t> mbr(kSector), header(kSector);
    if (auto r = co_await disk.read(0, IoVec(mbr)); !r) co_return std::unexpected(r.error());
    if (auto r = co_await disk.read(kSector, IoVec(header)); !r) co_return std::unexpected(r.error());
    if (std::memcmp(header.data(), "EFI PART", 8) == 0) co_return co_await grow_gpt(disk, std::move(header));
    if (mbr[510] != 0x55 || mbr[511] != 0xAA) co_return fail(ErrorKind::kInvalidArgument, disk.filename() + ": there is no partition table (GPT or MBR) on this disk");
    const uint64_t sectors = disk.size() / kSector;
    int last = -1;
    uint64_t last_start = 0;
    for (int i = 0; i < 4; ++i) {
        const uint8_t* e = &mbr[446 + 16 * static_cast<size_t>(i)];
        if (e[4] != 0 && le<uint32_t>(e + 8) >= last_start && le<uint32_t>(e + 12) != 0) {
            last = i;
            last_start = le<uint32_t>(e + 8);
        }
    }
    if (last < 0) co_return fail(ErrorKind::kInvalidArgument, disk.filename() + ": the partition table has no partition");
    uint8_t* e = &mbr[446 + 16 * static_cast<size_t>(last)];
    if (e[4] == 0x05 || e[4] == 0x0F || e[4] == 0x85)
        co_return fail(ErrorKind::kUnsupported, disk.filename() + ": the last partition is an extended one; growing logical partitions is not implemented");
    const uint64_t old = le<uint32_t>(e + 12);
    if (last_start + old > sectors) co_return fail(ErrorKind::kInvalidArgument, disk.filename() + ": the last partition reaches behind the end of the disk; it was not changed");
    const uint64_t length = std::max<uint64_t>(old, std::min<uint64_t>(sectors / 2048 * 2048 > last_start ? sectors / 2048 * 2048 - last_start : 0, UINT32_MAX - last_start));
    put<uint32_t>(e + 12, static_cast<uint32_t>(length));
    const uint8_t far_end[3] = {0xFE, 0xFF, 0xFF};  // CHS cannot say it: the customary "see LBA"
    std::copy_n(far_end, 3, e + 5);
    if (auto r = co_await disk.write(0, IoVec(mbr)); !r) co_return std::unexpected(r.error());
    if (auto r = co_await disk.flush(); !r) co_return std::unexpected(r.error());
    co_return text("Partition %d (MBR) grew from %s to %s; the file system in it has to be grown too.", last + 1, human_size(old * kSector).c_str(), human_size(length * kSector).c_str());
}

}  // namespace myna::img
