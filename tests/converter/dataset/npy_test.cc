#include "converter/calibration/npy.h"

#include <sys/stat.h>

#include <cmath>
#include <limits>

#include "converter/calibration/dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/converter/dataset/files.h"
#include "tests/testing/paths.h"

namespace tally {
namespace {

using testing::Code;
using ::testing::HasSubstr;
using testing::NpyBytes;
using testing::Raw;
using testing::WriteText;

class NpyTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& bytes) {
    const std::string path = dir_ + "/a.npy";
    WriteText(path, bytes);
    return path;
  }
  template <typename T>
  std::vector<T> Convert(const std::string& bytes, DType dtype) {
    const std::string path = Write(bytes);
    const absl::StatusOr<NpyArray> array = ReadNpy(path);
    EXPECT_TRUE(array.ok()) << array.status();
    if (!array.ok()) return {};
    const absl::StatusOr<std::vector<uint8_t>> out = ConvertNpy(*array, dtype, path);
    EXPECT_TRUE(out.ok()) << out.status();
    if (!out.ok()) return {};
    std::vector<T> values(out->size() / sizeof(T));
    std::memcpy(values.data(), out->data(), out->size());
    return values;
  }
  absl::Status ConvertError(const std::string& bytes, DType dtype) {
    const std::string path = Write(bytes);
    const absl::StatusOr<NpyArray> array = ReadNpy(path);
    if (!array.ok()) return array.status();
    return ConvertNpy(*array, dtype, path).status();
  }

  std::string dir_ = testing::TempDir();
};

TEST_F(NpyTest, ReadsVersions1To3) {
  for (int version = 1; version <= 3; ++version) {
    const std::string bytes = NpyBytes("<i4", "(2, 3)", Raw<int32_t>({1, 2, 3, 4, 5, 6}), "False", version);
    EXPECT_EQ(Convert<int64_t>(bytes, DType::kInt64), (std::vector<int64_t>{1, 2, 3, 4, 5, 6})) << version;
  }
}

TEST_F(NpyTest, ConvertsEveryElementTypeToFloat) {
  const std::vector<float> expected = {0, 1, 100};
  EXPECT_EQ(Convert<float>(NpyBytes("|b1", "(3,)", Raw<uint8_t>({0, 1, 1})), DType::kFloat32),
            (std::vector<float>{0, 1, 1}));
  EXPECT_EQ(Convert<float>(NpyBytes("|u1", "(3,)", Raw<uint8_t>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("|i1", "(3,)", Raw<int8_t>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("<u2", "(3,)", Raw<uint16_t>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("<i2", "(3,)", Raw<int16_t>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("<u4", "(3,)", Raw<uint32_t>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("<i4", "(3,)", Raw<int32_t>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("<u8", "(3,)", Raw<uint64_t>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("<i8", "(3,)", Raw<int64_t>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("<f4", "(3,)", Raw<float>({0, 1, 100})), DType::kFloat32), expected);
  EXPECT_EQ(Convert<float>(NpyBytes("<f8", "(3,)", Raw<double>({0, 1, 100})), DType::kFloat32), expected);
}

TEST_F(NpyTest, ConvertsHalvesExactly) {
  // 1, -2, 2^-24 (smallest denormal), 65504 (largest), 0.333251953125, -0.
  const std::vector<float> values = Convert<float>(
      NpyBytes("<f2", "(6,)", Raw<uint16_t>({0x3c00, 0xc000, 0x0001, 0x7bff, 0x3555, 0x8000})), DType::kFloat32);
  ASSERT_EQ(values.size(), 6u);
  EXPECT_EQ(values, (std::vector<float>{1, -2, std::ldexp(1.0f, -24), 65504, 0.333251953125f, 0}));
  EXPECT_TRUE(std::signbit(values[5]));
  const std::vector<float> special =
      Convert<float>(NpyBytes("<f2", "(2,)", Raw<uint16_t>({0x7c00, 0x7e00})), DType::kFloat32);
  ASSERT_EQ(special.size(), 2u);
  EXPECT_EQ(special[0], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(special[1]));
}

TEST_F(NpyTest, SwapsBigEndianValues) {
  EXPECT_EQ(Convert<int64_t>(NpyBytes(">i2", "(2,)", std::string("\x01\x02\xff\xfe", 4)), DType::kInt64),
            (std::vector<int64_t>{258, -2}));
}

TEST_F(NpyTest, RefusesValuesThatDoNotFit) {
  const auto error = [&](const std::string& bytes, DType dtype) {
    const absl::Status status = ConvertError(bytes, dtype);
    EXPECT_EQ(Code(status), "TLY-E0321");
    return std::string(status.message());
  };
  EXPECT_THAT(error(NpyBytes("<i4", "(2,)", Raw<int32_t>({1, 256})), DType::kUint8),
              HasSubstr("element 1: expected a value of uint8, found 256"));
  EXPECT_THAT(error(NpyBytes("<i4", "(1,)", Raw<int32_t>({-1})), DType::kUint8), HasSubstr("found -1"));
  EXPECT_THAT(error(NpyBytes("<f4", "(1,)", Raw<float>({1.5f})), DType::kInt64), HasSubstr("found 1.5"));
  EXPECT_THAT(error(NpyBytes("<f4", "(1,)", Raw<float>({9223372036854775808.0f})), DType::kInt64), HasSubstr("int64"));
  EXPECT_THAT(error(NpyBytes("<u8", "(1,)", Raw<uint64_t>({uint64_t{1} << 63})), DType::kInt64),
              HasSubstr("9223372036854775808"));
  EXPECT_THAT(error(NpyBytes("<f4", "(1,)", Raw<float>({std::nanf("")})), DType::kInt32), HasSubstr("nan"));
  EXPECT_THAT(error(NpyBytes("<f8", "(1,)", Raw<double>({1e300})), DType::kFloat32), HasSubstr("1e+300"));
  EXPECT_THAT(error(NpyBytes("|u1", "(1,)", Raw<uint8_t>({2})), DType::kBool), HasSubstr("bool"));
}

TEST_F(NpyTest, KeepsLargeIntegersExact) {
  const int64_t big = (int64_t{1} << 53) + 1;
  EXPECT_EQ(Convert<int64_t>(NpyBytes("<i8", "(1,)", Raw<int64_t>({big})), DType::kInt64), (std::vector<int64_t>{big}));
}

TEST_F(NpyTest, RefusesDamagedFiles) {
  const std::string good = NpyBytes("<f4", "(2, 2)", Raw<float>({1, 2, 3, 4}));
  const struct {
    const char* what;
    std::string bytes;
    const char* expected;
  } cases[] = {
      {"empty", "", "0 bytes"},
      {"magic", "\x93NUMPX" + good.substr(6), "magic"},
      {"version", good.substr(0, 6) + '\x04' + good.substr(7), "version 1..3, found 4"},
      {"header beyond the end", good.substr(0, 40), "header of"},
      {"short data", good.substr(0, good.size() - 1), "expected 16 bytes of data, found 15"},
      {"long data", good + "x", "expected 16 bytes of data, found 17"},
      {"order", NpyBytes("<f4", "(2, 2)", Raw<float>({1, 2, 3, 4}), "True"), "Fortran"},
      {"complex", NpyBytes("<c8", "(1,)", std::string(8, '\0')), "\"<c8\""},
      {"half integer", NpyBytes("<f1", "(1,)", "x"), "\"<f1\""},
      {"negative extent", NpyBytes("<f4", "(-1,)", ""), "another form"},
      {"extent beyond 64 bits", NpyBytes("<f4", "(99999999999999999999,)", ""), "another form"},
      {"wrapping shape", NpyBytes("<f8", "(4294967296, 4294967296)", ""), "64 bits"},
      {"wrapping bytes", NpyBytes("<f8", "(2305843009213693952,)", ""), "64 bits"},
      {"rank", NpyBytes("|u1", "(1, 1, 1, 1, 1, 1, 1)", "x"), "at most 6 dimensions"},
      {"open brace", NpyBytes("<f4", "(1", "xxxx"), "another form"},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<NpyArray> array = ReadNpy(Write(c.bytes));
    EXPECT_EQ(Code(array.status()), "TLY-E0321") << c.what;
    EXPECT_THAT(std::string(array.status().message()), HasSubstr(c.expected)) << c.what;
    EXPECT_THAT(std::string(array.status().message()), HasSubstr("a.npy")) << c.what;
  }
}

TEST_F(NpyTest, RefusesEveryTruncation) {
  const std::string good = NpyBytes("<f4", "(2, 2)", Raw<float>({1, 2, 3, 4}));
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_EQ(Code(ReadNpy(Write(good.substr(0, size))).status()), "TLY-E0321") << size;
  }
}

TEST_F(NpyTest, RefusesWhatIsNoRegularFile) {
  EXPECT_EQ(Code(ReadNpy(dir_ + "/absent.npy").status()), "TLY-E0401");
  EXPECT_EQ(Code(ReadNpy(dir_).status()), "TLY-E0403");
  ASSERT_EQ(mkfifo((dir_ + "/fifo").c_str(), 0600), 0);
  EXPECT_EQ(Code(ReadNpy(dir_ + "/fifo").status()), "TLY-E0403");
}

TEST_F(NpyTest, WrittenFilesReadBack) {
  const std::vector<float> values = {1, -2.5f, 3e-30f, 4, 5, 6};
  for (const Shape& shape : {Shape{6}, Shape{2, 3}, Shape{1, 2, 3}}) {
    const std::string path = dir_ + "/w.npy";
    ASSERT_TRUE(WriteNpy(path, {values.data(), DType::kFloat32, shape}).ok());
    const absl::StatusOr<NpyArray> array = ReadNpy(path);
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_EQ(array->descr, "<f4");
    EXPECT_EQ(array->shape, shape);
    EXPECT_EQ(std::memcmp(array->data.data(), values.data(), sizeof(float) * 6), 0);
  }
  const int64_t scalar = 7;
  ASSERT_TRUE(WriteNpy(dir_ + "/s.npy", {&scalar, DType::kInt64, {}}).ok());
  const absl::StatusOr<NpyArray> array = ReadNpy(dir_ + "/s.npy");
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_EQ(array->shape, Shape{});
}

}  // namespace
}  // namespace tally
