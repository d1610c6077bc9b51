// Makes the small files that the data tests read.
#ifndef TALLY_TESTS_CONVERTER_DATASET_FILES_H_
#define TALLY_TESTS_CONVERTER_DATASET_FILES_H_

#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tally/types.h"

namespace tally::testing {

void WriteText(const std::string& path, const std::string& text);

// An .npy file of version 1 with the given header fields and raw bytes.
std::string NpyBytes(const std::string& descr, const std::string& shape, const std::string& data,
                     const std::string& fortran_order = "False", int version = 1);

template <typename T>
std::string Raw(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// A JPEG of one colour at quality 100, whose decoded pixels are within 2 of it.
std::string JpegBytes(int height, int width, int red, int green, int blue);

// "TLY-E0320", or "" for OK.
std::string Code(const absl::Status& status);

}  // namespace tally::testing

#endif  // TALLY_TESTS_CONVERTER_DATASET_FILES_H_
