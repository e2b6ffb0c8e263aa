// VM state: the memory and devices of a machine, which a snapshot keeps beside the disk. It is mapped like data, by the L1
// entries behind those of the disk (qcow2 specification, "Snapshots": vm_state_size), and so is counted with them.
#include <algorithm>

#include "base/bits.h"
#include "block/formats/qcow2/qcow2.h"

namespace myna::block::qcow2 {

Task<Result<void>> Qcow2Node::move_l1(uint64_t entries) {
    const uint64_t clusters = clusters_of(entries * 8);
    auto at = co_await allocate(clusters, true);
    if (!at) co_return std::unexpected(at.error());
    if (auto r = co_await flush_metadata(); !r) co_return r;
    std::vector<uint8_t> t(clusters << h_.cluster_bits);
    for (size_t i = 0; i < l1_.size(); ++i) put64(&t[i * 8], l1_[i]);
    if (auto r = co_await write_at(at->first, t.data(), t.size()); !r) co_return r;
    if (auto r = co_await barrier(); !r) co_return r;
    const uint64_t old = h_.l1_offset, old_bytes = l1_.size() * 8;
    l1_.resize(entries);
    l1_dirty_.assign((l1_.size() + 63) / 64, false);
    h_.l1_offset = at->first;
    h_.l1_entries = static_cast<uint32_t>(entries);
    note_tables(at->first, t.size(), Metadata::kActiveL1);
    if (old_bytes != 0) free_later(old, old_bytes);
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::drop_vm_state() {
    for (uint64_t i = vm_state_entry(); i < l1_.size(); ++i) {
        const uint64_t at = l1_[i] & kOffsetMask;
        if (at == 0) continue;
        if (auto r = co_await free_l2(at); !r) co_return r;
        l1_[i] = 0;
        l1_dirty_[i / 64] = true;
    }
    co_return Result<void>{};
}

Task<Result<void>> Qcow2Node::do_read_vm_state(uint64_t offset, const IoVec& into) {
    const uint64_t begin = vm_state_entry() * h_.l2_reach();
    if (offset > INT64_MAX - begin || into.size() > INT64_MAX - begin - offset) co_return fail(ErrorKind::kInvalidArgument, filename_ + ": no VM state can be that large", EFBIG);
    co_return co_await do_read(begin + offset, into);
}

Task<Result<void>> Qcow2Node::do_write_vm_state(uint64_t offset, const IoVec& from) {
    if (damaged_) co_return no_more_writing();
    if (data_file_) co_return fail(ErrorKind::kUnsupported, "Images with external data files have no internal snapshots", ENOTSUP);
    const uint64_t begin = vm_state_entry() * h_.l2_reach(), most = kMaxL1Bytes / 8 * h_.l2_reach();
    if (begin > most || offset > most - begin || from.size() > most - begin - offset)
        co_return fail(ErrorKind::kNoSpace, filename_ + ": the VM state is too large for the image's cluster size", EFBIG);
    const uint64_t end = begin + offset + from.size(), needed = (end + h_.l2_reach() - 1) / h_.l2_reach();
    {
        const auto alone = co_await map_.lock();
        if (needed > l1_.size()) {
            if (auto r = co_await move_l1(needed); !r) co_return r;
            if (auto r = co_await write_header(); !r) co_return r;
        }
    }
    for (uint64_t done = 0; done < from.size();) {
        const uint64_t at = begin + offset + done, n = std::min<uint64_t>(from.size() - done, h_.l2_reach() - at % h_.l2_reach());
        const IoVec part = from.slice(done, n);
        if (auto r = co_await write_piece(at, part); !r) co_return co_await failed(std::move(r));
        done += n;
    }
    co_return Result<void>{};
}

}  // namespace myna::block::qcow2
