#include "format/error.h"

#include <cstdio>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace tally {
namespace {

constexpr char kPayloadUrl[] = "type.tally/error";
// Field separator of the payload; it cannot occur in a path that reached us through a C string unescaped.
constexpr char kSeparator = '\x1f';

struct Entry {
  ErrorId id;
  absl::StatusCode status;
};
constexpr Entry kEntries[] = {
#define TALLY_ERROR(id, number, status, text) {ErrorId::id, absl::StatusCode::k##status},
#include "format/error_codes.inc"
#undef TALLY_ERROR
};

absl::StatusCode StatusCodeOf(ErrorId id) {
  for (const Entry& e : kEntries) {
    if (e.id == id) return e.status;
  }
  return absl::StatusCode::kInternal;
}

absl::Status Build(absl::StatusCode status_code, const ErrorInfo& info, const std::string& detail) {
  std::string message = info.code;
  if (!info.file.empty()) absl::StrAppend(&message, ": ", info.file);
  if (!info.section.empty()) absl::StrAppend(&message, ": ", info.section);
  if (info.offset >= 0) absl::StrAppend(&message, ": byte ", info.offset);
  if (!info.subject.empty()) absl::StrAppend(&message, ": ", info.subject);
  absl::StrAppend(&message, ": ", detail);
  absl::Status status(status_code, message);
  const std::string offset = absl::StrCat(info.offset);
  status.SetPayload(kPayloadUrl,
                    absl::Cord(absl::StrJoin({info.code, info.file, info.section, offset, info.subject, detail},
                                             std::string(1, kSeparator))));
  return status;
}

// The payload's fields, the last of which is the detail; empty when the status has none.
std::vector<std::string> Fields(const absl::Status& status) {
  auto payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) return {};
  return absl::StrSplit(std::string(*payload), absl::MaxSplits(kSeparator, 5));
}

}  // namespace

std::string ErrorCodeString(ErrorId id) {
  char text[16];
  std::snprintf(text, sizeof(text), "TLY-E%04d", static_cast<int>(id));
  return text;
}

absl::Status MakeError(ErrorId id, const std::string& detail, const Where& where) {
  return Build(StatusCodeOf(id), {ErrorCodeString(id), where.file, where.section, where.offset, where.subject}, detail);
}

absl::Status AddWhere(const absl::Status& status, const Where& where) {
  const std::vector<std::string> fields = Fields(status);
  if (status.ok() || fields.size() != 6) return status;
  ErrorInfo info = GetErrorInfo(status);
  if (info.file.empty()) info.file = where.file;
  if (info.section.empty()) info.section = where.section;
  if (info.offset < 0) info.offset = where.offset;
  if (info.subject.empty()) info.subject = where.subject;
  return Build(status.code(), info, fields[5]);
}

std::string Quoted(const std::string& name) {
  constexpr size_t kCap = 64;
  const bool cut = name.size() > kCap;
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kCap)), cut ? "...\"" : "\"");
}

ErrorInfo GetErrorInfo(const absl::Status& status) {
  const std::vector<std::string> fields = Fields(status);
  ErrorInfo info;
  if (fields.size() != 6) return info;
  info.code = fields[0];
  info.file = fields[1];
  info.section = fields[2];
  info.offset = std::strtoll(fields[3].c_str(), nullptr, 10);
  info.subject = fields[4];
  return info;
}

int ExitStatus(const absl::Status& status) {
  if (status.ok()) return 0;
  const std::string code = GetErrorInfo(status).code;
  if (code.size() < 9) return 70;
  return std::atoi(code.c_str() + 5) / 100;
}

}  // namespace tally
