// The C API. It lives beside the list of backends because creating a session by name needs it.
#include "tally/c_api.h"

#include <memory>
#include <new>

#include "absl/strings/str_split.h"
#include "format/error.h"
#include "tally/tally.h"

struct tally_model {
  tally::Model model;
};

struct tally_session {
  tally::Session session;
};

namespace {

std::string& LastError() {
  thread_local std::string error;
  return error;
}

tally_status Fail(const absl::Status& status) {
  LastError() = std::string(status.message());
  return tally::ExitStatus(status);
}

tally_status Usage(const char* detail) { return Fail(tally::MakeError(tally::ErrorId::kUsage, detail)); }

bool ValidDType(tally_dtype dtype) { return dtype >= 0 && static_cast<int>(dtype) < tally::kNumDTypes; }

tally_tensor Describe(const tally::TensorInfo& info) {
  return {info.name.c_str(), nullptr, static_cast<tally_dtype>(info.dtype), info.shape.data(), info.shape.size()};
}

// Runs `body`, which returns a tally_status; no exception crosses the C boundary.
template <typename Body>
tally_status Guarded(const Body& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return 5;  // no memory even for a message
  } catch (...) {
    return 70;
  }
}

// Appends NamedView or NamedMutableView.
template <typename View>
tally_status ReadTensors(const tally_tensor* tensors, size_t count, std::vector<View>* views) {
  if (tensors == nullptr && count > 0) return Usage("inputs and outputs must not be NULL");
  for (size_t i = 0; i < count; ++i) {
    const tally_tensor& t = tensors[i];
    if (t.name == nullptr || (t.shape == nullptr && t.rank > 0)) return Usage("a tensor's name or shape is NULL");
    if (!ValidDType(t.dtype)) return Usage("a tensor's dtype is not one of tally_dtype");
    views->push_back({t.name, {t.data, static_cast<tally::DType>(t.dtype), tally::Shape(t.shape, t.shape + t.rank)}});
  }
  return TALLY_OK;
}

}  // namespace

const char* tally_version(void) { return tally::Version(); }
const char* tally_last_error(void) { return LastError().c_str(); }

tally_status tally_model_load(const char* path, tally_model** model) {
  return Guarded([&]() -> tally_status {
    if (path == nullptr || model == nullptr) return Usage("path and model must not be NULL");
    *model = nullptr;
    absl::StatusOr<tally::Model> loaded = tally::Model::Load(path);
    if (!loaded.ok()) return Fail(loaded.status());
    *model = new tally_model{*std::move(loaded)};
    return TALLY_OK;
  });
}

void tally_model_destroy(tally_model* model) { delete model; }

tally_status tally_session_create(const tally_model* model, const tally_session_options* options,
                                  tally_session** session) {
  return Guarded([&]() -> tally_status {
    if (model == nullptr || session == nullptr) return Usage("model and session must not be NULL");
    *session = nullptr;
    tally::SessionOptions cpp;
    if (options != nullptr) {
      if (options->size < sizeof(tally_session_options)) return Usage("options->size is too small; set it to sizeof");
      if (options->backends != nullptr) {
        cpp.backends = absl::StrSplit(options->backends, ',', absl::SkipWhitespace());
      }
      cpp.num_threads = options->num_threads;
      cpp.require_backend = options->require_backend != 0;
    }
    absl::StatusOr<tally::Session> made = tally::Session::Create(model->model, cpp);
    if (!made.ok()) return Fail(made.status());
    *session = new tally_session{*std::move(made)};
    return TALLY_OK;
  });
}

void tally_session_destroy(tally_session* session) { delete session; }

size_t tally_session_input_count(const tally_session* session) { return session->session.inputs().size(); }
size_t tally_session_output_count(const tally_session* session) { return session->session.outputs().size(); }
tally_tensor tally_session_input(const tally_session* session, size_t index) {
  return Describe(session->session.inputs()[index]);
}
tally_tensor tally_session_output(const tally_session* session, size_t index) {
  return Describe(session->session.outputs()[index]);
}

tally_status tally_session_resize(tally_session* session, const char* input, const int64_t* shape, size_t rank) {
  return Guarded([&]() -> tally_status {
    if (session == nullptr || input == nullptr || (shape == nullptr && rank > 0)) {
      return Usage("session, input and shape must not be NULL");
    }
    const absl::Status status = session->session.Resize({{input, tally::Shape(shape, shape + rank)}});
    return status.ok() ? TALLY_OK : Fail(status);
  });
}

tally_status tally_session_prepare(tally_session* session, const tally_tensor* inputs, size_t num_inputs) {
  return Guarded([&]() -> tally_status {
    if (session == nullptr) return Usage("session must not be NULL");
    std::vector<tally::NamedView> in;
    if (const tally_status bad = ReadTensors(inputs, num_inputs, &in); bad != TALLY_OK) return bad;
    const absl::Status status = session->session.Prepare(in);
    return status.ok() ? TALLY_OK : Fail(status);
  });
}

tally_status tally_session_run(tally_session* session, const tally_tensor* inputs, size_t num_inputs,
                               const tally_tensor* outputs, size_t num_outputs) {
  return Guarded([&]() -> tally_status {
    if (session == nullptr) return Usage("session must not be NULL");
    std::vector<tally::NamedView> in;
    if (const tally_status bad = ReadTensors(inputs, num_inputs, &in); bad != TALLY_OK) return bad;
    std::vector<tally::NamedMutableView> out;
    if (const tally_status bad = ReadTensors(outputs, num_outputs, &out); bad != TALLY_OK) return bad;
    const absl::Status status = session->session.Run(in, out);
    return status.ok() ? TALLY_OK : Fail(status);
  });
}
