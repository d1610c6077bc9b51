// JPEG decoding pinned to one bit pattern: libjpeg-turbo with the accurate integer DCT and smooth chroma upsampling, so
// that accuracy figures do not depend on a decoder's speed settings.
// Functions are safe to call from several threads.
#ifndef TALLY_CONVERTER_CALIBRATION_IMAGE_H_
#define TALLY_CONVERTER_CALIBRATION_IMAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tally {

struct RgbImage {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]
};

// Decodes a JPEG file's bytes; grey images become RGB. `path` is for messages. `height` and `width`: what the image
// must be, 0 = anything up to 64 Mi pixels; checked before pixels are decoded. Damaged data is an error even where the
// library would go on with a warning. Errors: kBadDataFile, kOutOfMemory.
absl::StatusOr<RgbImage> DecodeJpeg(const uint8_t* data, size_t size, const std::string& path, int64_t height = 0,
                                    int64_t width = 0);

}  // namespace tally

#endif  // TALLY_CONVERTER_CALIBRATION_IMAGE_H_
