// .npy files read in pieces: header once, rows by pread, so that a file larger than memory costs one batch.
// NpyFile is immutable after Open and safe to share between threads. Reading, not mapping: a file that is truncated
// meanwhile gives an error instead of SIGBUS.
#ifndef TALLY_CONVERTER_CALIBRATION_NPY_H_
#define TALLY_CONVERTER_CALIBRATION_NPY_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "format/file_io.h"
#include "tally/types.h"

namespace tally {

struct NpyType {
  char kind = 'f';       // 'f' float, 'i' signed, 'u' unsigned, 'b' boolean
  int bytes = 4;         // of one element
  bool swapped = false;  // big-endian
};

// "<f4", "|u1", ">i8", ...: booleans, integers of 1, 2, 4, 8 bytes, floats of 2, 4, 8. Error: kBadDataFile.
absl::StatusOr<NpyType> ParseNpyType(const std::string& descr, const std::string& path);

class NpyFile {
 public:
  // Checks the header and that the file has exactly the bytes that it promises.
  // Errors: kNotFound, kPermission, kNotRegular, kBadDataFile.
  static absl::StatusOr<NpyFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::string& descr() const { return descr_; }
  const NpyType& type() const { return type_; }
  const Shape& shape() const { return shape_; }
  int64_t elements() const { return elements_; }  // elements() * type().bytes fits in int64_t

  // Elements first .. first + count - 1 in file order. REQUIRES: within elements(). Error: kReadFailed.
  absl::Status Read(int64_t first, int64_t count, uint8_t* out) const;

 private:
  explicit NpyFile(File file) : file_(std::move(file)) {}
  absl::Status ReadHeader(uint64_t file_bytes);

  File file_;
  std::string path_;
  std::string descr_;
  NpyType type_;
  Shape shape_;
  int64_t elements_ = 0;
  uint64_t data_offset_ = 0;
};

// Elements as float64: exact but for 64-bit integers above 2^53.
void NpyToDoubles(const NpyType& type, const uint8_t* data, int64_t count, double* out);

// Elements as `dtype`, exactly; a value that does not fit is kBadDataFile naming its index (from `first_index` on) and
// value. float64 is rounded to float32; it does not fit when that overflows.
absl::Status ConvertNpyElements(const NpyType& type, const uint8_t* data, int64_t count, DType dtype,
                                const std::string& path, int64_t first_index, uint8_t* out);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_NPY_H_
