#include "tools/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "format/model_file.h"

namespace tally::tools {
namespace {

absl::Status WriteDirectly(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) {
    return MakeError(errno == EACCES ? ErrorId::kPermission : ErrorId::kWriteFailed, std::strerror(errno),
                     {path, "", -1, ""});
  }
  absl::Status status;
  for (size_t done = 0; done < text.size() && status.ok();) {
    const ssize_t n = write(fd, text.data() + done, text.size() - done);
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      status = MakeError(ErrorId::kWriteFailed, std::strerror(errno), {path, "", -1, ""});
    }
  }
  if (close(fd) != 0 && status.ok()) {
    status = MakeError(ErrorId::kWriteFailed, std::strerror(errno), {path, "", -1, ""});
  }
  return status;
}

// What a path names, under whatever name: a file by its device and number; one that does not exist yet by its folder's
// and its own name. Nothing for what may be written twice (a device, a pipe) and for what cannot be.
using Identity = std::tuple<dev_t, ino_t, std::string>;

std::pair<std::string, std::string> SplitPath(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {path.substr(0, slash + 1), path.substr(slash + 1)};
}

std::optional<Identity> IdentityOf(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) return std::nullopt;
    return Identity(info.st_dev, info.st_ino, "");
  }
  const auto [folder, name] = SplitPath(path);
  if (stat(folder.c_str(), &info) != 0) return std::nullopt;
  return Identity(info.st_dev, info.st_ino, name);
}

// Whether files may be made in a folder, which must exist.
absl::Status CheckFolder(const std::string& option, const std::string& folder) {
  struct stat info;
  if (stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return MakeError(ErrorId::kNotFound, absl::StrCat(option, ": the folder does not exist"), {folder, "", -1, ""});
  }
  if (access(folder.c_str(), W_OK | X_OK) == 0) return absl::OkStatus();
  return MakeError(ErrorId::kPermission, absl::StrCat(option, ": ", std::strerror(errno)), {folder, "", -1, ""});
}

absl::Status CheckWritable(const OutputPath& output) {
  const Where where = {output.path, "", -1, ""};
  const std::string folder = SplitPath(output.path).first;
  struct stat info;
  if (stat(output.path.c_str(), &info) != 0) return CheckFolder(output.option, folder);
  if (output.kind == OutputPath::Kind::kFolder) {
    if (S_ISDIR(info.st_mode)) return CheckFolder(output.option, output.path);
    return MakeError(ErrorId::kNotRegular, absl::StrCat(output.option, ": expected a folder, found a file"), where);
  }
  if (S_ISDIR(info.st_mode) || (!S_ISREG(info.st_mode) && output.kind == OutputPath::Kind::kFile)) {
    return MakeError(ErrorId::kNotRegular,
                     absl::StrCat(output.option, ": expected a file to write, found a folder",
                                  S_ISDIR(info.st_mode) ? "" : ", device or pipe"),
                     where);
  }
  if (access(output.path.c_str(), W_OK) != 0) {
    return MakeError(ErrorId::kPermission, absl::StrCat(output.option, ": ", std::strerror(errno)), where);
  }
  // A file is replaced by a new one beside it.
  return S_ISREG(info.st_mode) ? CheckFolder(output.option, folder) : absl::OkStatus();
}

}  // namespace

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

absl::Status FinishStdout() {
  // errno of the flush that failed first is gone when stdio flushed in between; ENOSPC and EPIPE both mean this.
  const bool earlier = std::ferror(stdout) != 0;
  errno = 0;
  if (std::fflush(stdout) == 0 && !earlier) return absl::OkStatus();
  return MakeError(ErrorId::kWriteFailed, errno != 0 ? std::strerror(errno) : "the output could not be written",
                   {"stdout", "", -1, ""});
}

absl::Status WriteOutput(const std::string& path, const std::string& text) {
  if (path == "-") {
    Print(text);
    return absl::OkStatus();
  }
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) return WriteDirectly(path, text);
  return WriteFileAtomically(path, text.data(), text.size());
}

absl::Status WriteJson(const std::string& path, const Json& json) {
  // Names come from files and need not be UTF-8.
  return WriteOutput(path, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

absl::Status CheckOutputs(const std::vector<OutputPath>& outputs, const std::vector<std::string>& inputs) {
  std::vector<const OutputPath*> files;
  const OutputPath* to_stdout = nullptr;
  for (const OutputPath& output : outputs) {
    if (output.path.empty()) continue;
    if (output.path != "-") {
      files.push_back(&output);
    } else if (output.kind != OutputPath::Kind::kText) {
      return MakeError(ErrorId::kUsage, absl::StrCat(output.option, ": expected a path, found - (stdout)"));
    } else if (to_stdout != nullptr) {
      return MakeError(ErrorId::kUsage, absl::StrCat(to_stdout->option, " and ", output.option,
                                                     ": expected one of them at most on stdout (-), found both"));
    } else {
      to_stdout = &output;
    }
  }
  for (size_t i = 0; i < files.size(); ++i) {
    const std::optional<Identity> identity = IdentityOf(files[i]->path);
    const auto clash = [&](const std::string& with) {
      return MakeError(ErrorId::kSameFile, absl::StrCat(files[i]->option, ": expected another file than ", with),
                       {files[i]->path, "", -1, ""});
    };
    if (identity) {
      for (const std::string& input : inputs) {
        if (IdentityOf(input) == identity) return clash(absl::StrCat("the input ", input));
      }
      for (size_t k = 0; k < i; ++k) {
        const auto is_folder = [&](size_t f) { return files[f]->kind == OutputPath::Kind::kFolder; };
        if (is_folder(i) && is_folder(k)) continue;
        if (IdentityOf(files[k]->path) == identity) return clash(absl::StrCat(files[k]->option, " ", files[k]->path));
      }
    }
    TALLY_RETURN_IF_ERROR(CheckWritable(*files[i]));
  }
  return absl::OkStatus();
}

}  // namespace tally::tools
