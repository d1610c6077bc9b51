#include "tools/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "format/model_file.h"

namespace tally::tools {
namespace {

constexpr size_t kChunk = 1 << 16;
constexpr int kGzipOnly = 16;  // added to zlib's window bits

struct InflateEnd {
  void operator()(z_stream* stream) const {
    inflateEnd(stream);
    delete stream;
  }
};

absl::StatusOr<std::string> Inflate(const Blob& bytes, const std::string& path, uint64_t max_bytes, ErrorId damaged) {
  std::unique_ptr<z_stream, InflateEnd> stream(new z_stream());
  if (inflateInit2(stream.get(), kGzipOnly + MAX_WBITS) != Z_OK) {
    return MakeError(ErrorId::kOutOfMemory, "zlib has no memory", {path, "", -1, ""});
  }
  stream->next_in = const_cast<Bytef*>(bytes.data());
  size_t left = bytes.size();  // zlib counts in 32 bits
  std::string text;
  char chunk[kChunk];
  int result = Z_OK;
  while (true) {
    if (stream->avail_in == 0) {
      stream->avail_in = static_cast<uInt>(std::min<size_t>(left, 1u << 30));
      left -= stream->avail_in;
    }
    // Members may follow each other, as `cat a.gz b.gz` makes them.
    if (result == Z_STREAM_END) {
      if (stream->avail_in == 0) return text;
      inflateReset(stream.get());
    }
    stream->next_out = reinterpret_cast<Bytef*>(chunk);
    stream->avail_out = kChunk;
    result = inflate(stream.get(), Z_NO_FLUSH);
    text.append(chunk, kChunk - stream->avail_out);
    if (result != Z_OK && result != Z_STREAM_END) {
      return MakeError(damaged,
                       absl::StrCat("expected gzip data, found ", result == Z_BUF_ERROR ? "its end" : "damage",
                                    " after ", text.size(), " bytes of text"),
                       {path, "", static_cast<int64_t>(stream->total_in), ""});
    }
    if (text.size() > max_bytes) {
      return MakeError(ErrorId::kLimitFile, absl::StrCat("expected at most ", max_bytes, " bytes of text, found more"),
                       {path, "", -1, ""});
    }
  }
}

}  // namespace

absl::StatusOr<std::string> ReadMaybeGzip(const std::string& path, uint64_t max_bytes, ErrorId damaged) {
  TALLY_ASSIGN_OR_RETURN(const Blob bytes, ReadWholeFile(path, max_bytes));
  const bool compressed = bytes.size() >= 2 && bytes.data()[0] == 0x1f && bytes.data()[1] == 0x8b;
  if (!compressed) return std::string(bytes.as<char>(), bytes.size());
  return Inflate(bytes, path, max_bytes, damaged);
}

}  // namespace tally::tools
