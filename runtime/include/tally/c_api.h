/* Tally's C API: the C++ API of tally/tally.h behind opaque handles. ABI-stable: functions are only ever added.
 *
 * Every function that can fail returns a tally_status: TALLY_OK (0) or the exit status that the command line would give
 * (2 usage, 3 bad input, 4 I/O, 5 resources, 6 unsupported, 70 internal). tally_last_error() then holds the text of the
 * calling thread's last failure, beginning with the stable code, "TLY-E0301: ...".
 *
 * Thread safety is that of the C++ API: a model may be shared, a session takes one call at a time. A model may be
 * destroyed while sessions use it. Passing NULL to a destroy function does nothing. */
#ifndef TALLY_C_API_H_
#define TALLY_C_API_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define TALLY_C_API __attribute__((visibility("default")))
#else
#define TALLY_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef int tally_status;
#define TALLY_OK 0

typedef struct tally_model tally_model;
typedef struct tally_session tally_session;

/* Element types; the values of tally::DType. */
typedef enum tally_dtype {
  TALLY_FLOAT32 = 0,
  TALLY_INT64 = 1,
  TALLY_INT32 = 2,
  TALLY_UINT8 = 3,
  TALLY_INT8 = 4,
  TALLY_BOOL = 5
} tally_dtype;

/* A dense row-major tensor that the caller owns. */
typedef struct tally_tensor {
  const char* name;
  void* data; /* only read for inputs */
  tally_dtype dtype;
  const int64_t* shape;
  size_t rank;
} tally_tensor;

/* Fields may be added at the end; `size` is sizeof(tally_session_options) as the caller compiled it. */
typedef struct tally_session_options {
  size_t size;
  const char* backends; /* comma-separated, in order of preference; NULL: "exponent" */
  int num_threads;      /* 0: one per CPU */
  int require_backend;  /* nonzero: a node that no backend takes is an error */
} tally_session_options;

TALLY_C_API const char* tally_version(void);

/* Text of this thread's last error, never NULL; valid until its next call into this API. */
TALLY_C_API const char* tally_last_error(void);

TALLY_C_API tally_status tally_model_load(const char* path, tally_model** model);
TALLY_C_API void tally_model_destroy(tally_model* model);

/* options may be NULL. */
TALLY_C_API tally_status tally_session_create(const tally_model* model, const tally_session_options* options,
                                              tally_session** session);
TALLY_C_API void tally_session_destroy(tally_session* session);

TALLY_C_API size_t tally_session_input_count(const tally_session* session);
TALLY_C_API size_t tally_session_output_count(const tally_session* session);
/* Name, type and concrete shape; `data` is NULL. The pointers live until the session is planned anew (by resize, by
 * prepare, by a run with another value of a shape input) or destroyed. An output whose shape follows from values that
 * are not known yet has rank 0, and its type says nothing; see tally_session_prepare. REQUIRES: index < count. */
TALLY_C_API tally_tensor tally_session_input(const tally_session* session, size_t index);
TALLY_C_API tally_tensor tally_session_output(const tally_session* session, size_t index);

/* Gives one input another shape where the model's is dynamic. Inputs that must change together need
 * tally_session_prepare. */
TALLY_C_API tally_status tally_session_resize(tally_session* session, const char* input, const int64_t* shape,
                                              size_t rank);

/* Plans for the shapes of these inputs and for the values of those that shapes follow from (Reshape's shape, ...),
 * which must be among them; no other `data` is read. Then tally_session_output says what a run with them gives. */
TALLY_C_API tally_status tally_session_prepare(tally_session* session, const tally_tensor* inputs, size_t num_inputs);

TALLY_C_API tally_status tally_session_run(tally_session* session, const tally_tensor* inputs, size_t num_inputs,
                                           const tally_tensor* outputs, size_t num_outputs);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* TALLY_C_API_H_ */
