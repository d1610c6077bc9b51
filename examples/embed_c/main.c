/* Classifies a digit through the C API: digits_c MODEL.tally */
#include <stdio.h>
#include <tally/c_api.h>

int main(int argc, char** argv) {
  tally_model* model = NULL;
  tally_session* session = NULL;
  float image[28 * 28] = {0}, logits[10];
  int y, best = 0;
  if (argc != 2) return fprintf(stderr, "usage: %s MODEL.tally\n", argv[0]), 2;
  for (y = 4; y < 24; ++y) image[y * 28 + 14] = image[y * 28 + 15] = 1; /* a one */

  tally_status status = tally_model_load(argv[1], &model);
  if (status == TALLY_OK) status = tally_session_create(model, NULL, &session);
  if (status == TALLY_OK) {
    tally_tensor in = tally_session_input(session, 0), out = tally_session_output(session, 0);
    in.data = image;
    out.data = logits;
    status = tally_session_run(session, &in, 1, &out, 1);
  }
  if (status != TALLY_OK) fprintf(stderr, "%s\n", tally_last_error());
  for (y = 1; status == TALLY_OK && y < 10; ++y) best = logits[y] > logits[best] ? y : best;
  if (status == TALLY_OK) printf("digit %d\n", best);
  tally_session_destroy(session);
  tally_model_destroy(model);
  return status;
}
