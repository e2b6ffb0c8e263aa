#include "block/formats/qcow2/compress.h"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

namespace myna::block::qcow2 {

bool compress_cluster(Compression type, std::span<const uint8_t> in, std::span<uint8_t> out, size_t& used) {
    if (type == Compression::kZstd) {
        struct Context {
            ZSTD_CCtx* c = ZSTD_createCCtx();
            ~Context() { ZSTD_freeCCtx(c); }
        };
        thread_local Context context;  // scratch memory only
        const size_t n = ZSTD_compressCCtx(context.c, out.data(), out.size(), in.data(), in.size(), ZSTD_CLEVEL_DEFAULT);
        if (ZSTD_isError(n) || n >= in.size()) return false;
        used = n;
        return true;
    }
    struct Deflate {
        z_stream z{};
        bool ok = deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK;
        ~Deflate() { deflateEnd(&z); }
    };
    thread_local Deflate deflater;  // scratch memory only
    z_stream& z = deflater.z;
    if (!deflater.ok || deflateReset(&z) != Z_OK) return false;
    z.next_in = const_cast<Bytef*>(in.data());
    z.avail_in = static_cast<uInt>(in.size());
    z.next_out = out.data();
    z.avail_out = static_cast<uInt>(out.size());
    const bool ok = deflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out < in.size();
    used = z.total_out;
    return ok;
}

bool decompress_cluster(Compression type, std::span<const uint8_t> in, std::span<uint8_t> out) {
    if (type == Compression::kZstd) {
        struct Context {
            ZSTD_DStream* d = ZSTD_createDStream();
            ~Context() { ZSTD_freeDStream(d); }
        };
        thread_local Context context;  // scratch memory only
        ZSTD_DStream* d = context.d;
        if (d == nullptr) return false;
        // One frame is the rule: straight to where it belongs. Several are as good, but have to be taken as a stream.
        if (const size_t frame = ZSTD_findFrameCompressedSize(in.data(), in.size()); !ZSTD_isError(frame))
            if (ZSTD_decompressDCtx(d, out.data(), out.size(), in.data(), frame) == out.size()) return true;
        if (ZSTD_isError(ZSTD_initDStream(d))) return false;
        ZSTD_inBuffer i{in.data(), in.size(), 0};
        ZSTD_outBuffer o{out.data(), out.size(), 0};
        while (o.pos < o.size) {
            const size_t before = o.pos, read = i.pos;
            const size_t r = ZSTD_decompressStream(d, &o, &i);
            if (ZSTD_isError(r) || (o.pos == before && i.pos == read)) break;
        }
        return o.pos == o.size;
    }
    struct Decompressor {
        libdeflate_decompressor* d = libdeflate_alloc_decompressor();
        ~Decompressor() { libdeflate_free_decompressor(d); }
    };
    thread_local Decompressor decompressor;  // scratch memory only
    size_t read = 0, written = 0;
    const auto r = libdeflate_deflate_decompress_ex(decompressor.d, in.data(), in.size(), out.data(), out.size(), &read, &written);
    return r == LIBDEFLATE_SUCCESS && written == out.size();
}

}  // namespace myna::block::qcow2
