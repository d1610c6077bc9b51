#include "converter/calibration/image.h"

#include <cstdlib>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/converter/dataset/files.h"

namespace tally {
namespace {

using ::testing::AnyOf;
using testing::Code;
using ::testing::HasSubstr;
using testing::JpegBytes;

absl::StatusOr<RgbImage> Decode(const std::string& bytes, int64_t height = 0, int64_t width = 0) {
  return DecodeJpeg(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), "x.jpg", height, width);
}

TEST(DecodeJpeg, GivesRowsOfRgb) {
  const absl::StatusOr<RgbImage> image = Decode(JpegBytes(5, 9, 200, 100, 50), 5, 9);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->height, 5);
  EXPECT_EQ(image->width, 9);
  ASSERT_EQ(image->pixels.size(), 5u * 9 * 3);
  for (size_t i = 0; i < image->pixels.size(); i += 3) {
    // Quality 100 still rounds once in YCbCr and once in the transform.
    EXPECT_NEAR(image->pixels[i], 200, 2);
    EXPECT_NEAR(image->pixels[i + 1], 100, 2);
    EXPECT_NEAR(image->pixels[i + 2], 50, 2);
  }
}

TEST(DecodeJpeg, RefusesAnotherSizeBeforeDecoding) {
  const absl::StatusOr<RgbImage> image = Decode(JpegBytes(8, 16, 1, 2, 3), 16, 8);
  EXPECT_EQ(Code(image.status()), "TLY-E0321");
  EXPECT_THAT(std::string(image.status().message()),
              HasSubstr("expected an image of 16x8 (height x width), found 8x16"));
}

TEST(DecodeJpeg, RefusesEveryTruncation) {
  const std::string good = JpegBytes(16, 16, 10, 200, 30);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(Code(Decode(good.substr(0, size)).status()), "TLY-E0321") << size;
  }
}

TEST(DecodeJpeg, SurvivesFlippedBytes) {
  const std::string good = JpegBytes(16, 16, 10, 200, 30);
  for (size_t i = 0; i < good.size(); ++i) {
    for (unsigned mask : {0x01u, 0x80u, 0xffu}) {
      std::string bytes = good;
      bytes[i] = static_cast<char>(static_cast<unsigned char>(bytes[i]) ^ mask);
      const absl::StatusOr<RgbImage> image = Decode(bytes, 16, 16);
      // A flipped coefficient is still a JPEG; all else must be named as damage.
      EXPECT_THAT(Code(image.status()), AnyOf("", "TLY-E0321")) << i << ": " << image.status();
    }
  }
}

TEST(DecodeJpeg, RefusesOtherFormats) {
  EXPECT_EQ(Code(Decode("\x89PNG\r\n\x1a\n and more").status()), "TLY-E0321");
  EXPECT_EQ(Code(Decode("").status()), "TLY-E0321");
}

TEST(DecodeJpeg, RefusesHugeExtentsWithoutAllocatingThem) {
  std::string bytes = JpegBytes(16, 16, 0, 0, 0);
  const size_t sof = bytes.find("\xff\xc0");
  ASSERT_NE(sof, std::string::npos);
  for (size_t k = 0; k < 4; ++k) bytes[sof + 5 + k] = '\xfd';  // 65,021 x 65,021
  const absl::StatusOr<RgbImage> image = Decode(bytes);
  EXPECT_EQ(Code(image.status()), "TLY-E0321");
  EXPECT_THAT(std::string(image.status().message()), HasSubstr("at most"));
}

}  // namespace
}  // namespace tally
