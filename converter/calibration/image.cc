#include "converter/calibration/image.h"

#include <jpeglib.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "format/error.h"

namespace tally {
namespace {

constexpr int64_t kMaxPixels = int64_t{64} << 20;
// A small progressive file can ask for thousands of passes over a large image.
constexpr int kMaxScans = 100;

// libjpeg reports errors by a call that must not return. The longjmp target is set by each method of Decoder, which
// hold no object with a destructor between setjmp and the library's calls.
class Decoder {
 public:
  Decoder() {
    cinfo_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr cinfo) {
      Decoder* self = static_cast<Decoder*>(cinfo->client_data);
      (*cinfo->err->format_message)(cinfo, self->message_);
      std::longjmp(self->jump_, 1);
    };
    // Level -1 is damaged data, which the library would replace by grey; others are trace output.
    errors_.emit_message = [](j_common_ptr cinfo, int level) {
      if (level < 0) (*cinfo->err->error_exit)(cinfo);
    };
    cinfo_.client_data = this;
    if (setjmp(jump_) != 0) return;
    jpeg_create_decompress(&cinfo_);
    created_ = true;
    progress_.progress_monitor = [](j_common_ptr cinfo) {
      Decoder* self = static_cast<Decoder*>(cinfo->client_data);
      if (self->cinfo_.input_scan_number <= kMaxScans) return;
      std::snprintf(self->message_, sizeof(self->message_), "more than %d scans", kMaxScans);
      std::longjmp(self->jump_, 1);
    };
    cinfo_.progress = &progress_;
  }
  ~Decoder() {
    if (created_) jpeg_destroy_decompress(&cinfo_);
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  bool ReadHeader(const uint8_t* data, size_t size) {
    if (!created_) return false;
    if (setjmp(jump_) != 0) return false;
    jpeg_mem_src(&cinfo_, data, size);
    jpeg_read_header(&cinfo_, TRUE);
    return true;
  }

  // `pixels` holds height() * width() * 3 bytes.
  bool Decode(uint8_t* pixels) {
    if (setjmp(jump_) != 0) return false;
    cinfo_.out_color_space = JCS_RGB;
    cinfo_.dct_method = JDCT_ISLOW;
    cinfo_.do_fancy_upsampling = TRUE;
    jpeg_start_decompress(&cinfo_);
    const size_t stride = static_cast<size_t>(cinfo_.output_width) * 3;
    while (cinfo_.output_scanline < cinfo_.output_height) {
      JSAMPROW row = pixels + stride * cinfo_.output_scanline;
      jpeg_read_scanlines(&cinfo_, &row, 1);
    }
    jpeg_finish_decompress(&cinfo_);
    return true;
  }

  int64_t height() const { return cinfo_.image_height; }
  int64_t width() const { return cinfo_.image_width; }
  const char* message() const { return message_; }

 private:
  jpeg_decompress_struct cinfo_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_progress_mgr progress_ = {};
  std::jmp_buf jump_ = {};
  char message_[JMSG_LENGTH_MAX] = "no memory for the decoder";
  bool created_ = false;
};

}  // namespace

absl::StatusOr<RgbImage> DecodeJpeg(const uint8_t* data, size_t size, const std::string& path, int64_t height,
                                    int64_t width) {
  const auto bad = [&](const std::string& detail) {
    return MakeError(ErrorId::kBadDataFile, detail, {path, "", -1, ""});
  };
  if (size == 0) return bad("expected a JPEG image, found an empty file");
  Decoder decoder;
  if (!decoder.ReadHeader(data, size)) return bad(absl::StrCat("expected a JPEG image: ", decoder.message()));
  if ((height != 0 && decoder.height() != height) || (width != 0 && decoder.width() != width)) {
    return bad(absl::StrCat("expected an image of ", height, "x", width, " (height x width), found ", decoder.height(),
                            "x", decoder.width()));
  }
  if (decoder.height() * decoder.width() > kMaxPixels) {
    return bad(
        absl::StrCat("expected at most ", kMaxPixels, " pixels, found ", decoder.height(), "x", decoder.width()));
  }
  try {
    RgbImage image;
    image.height = decoder.height();
    image.width = decoder.width();
    image.pixels.resize(static_cast<size_t>(image.height * image.width * 3));
    if (!decoder.Decode(image.pixels.data())) return bad(absl::StrCat("damaged JPEG image: ", decoder.message()));
    return image;
  } catch (const std::bad_alloc&) {
    return MakeError(ErrorId::kOutOfMemory, "no memory for the image", {path, "", -1, ""});
  }
}

}  // namespace tally
