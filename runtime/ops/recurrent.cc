// RNN, GRU and LSTM over one direction, given the products of the inputs with their weights (a Gemm before them):
//
//   gates `[T,B,G*H]` (with all biases), recurrent weight `[G*H,H]`, [initial h `[B,H]`], ...
//
// Gates are in ONNX's order (LSTM i, o, f, c; GRU z, r, h). A dot product runs over 16 lanes as LaneSum does. A step's
// outputs are independent of each other, so threads share them out.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "format/error.h"
#include "runtime/ops/attributes.h"
#include "runtime/ops/evals.h"
#include "runtime/ops/float4.h"
#include "runtime/ops/math.h"
#include "runtime/ops/movement.h"
#include "runtime/ops/parallel.h"

namespace tally {
namespace {

struct Recurrence {
  size_t steps, batch, hidden, gates;
  const float* x;          // [steps, batch, gates * hidden]
  const float* weight;     // [gates * hidden, hidden]
  const float* initial;    // [batch, hidden] or null
  const int32_t* lengths;  // [batch] or null
  bool reverse;
  float* y;       // [steps, batch, hidden]
  float* last_h;  // [batch, hidden]

  size_t Length(size_t b) const { return lengths == nullptr ? steps : static_cast<size_t>(lengths[b]); }
  // Step s of the sequence is at this position in memory; s < Length(b).
  size_t At(size_t s, size_t b) const { return reverse ? Length(b) - 1 - s : s; }
  const float* Gates(size_t t, size_t b) const { return x + (t * batch + b) * gates * hidden; }
  float* State(size_t t, size_t b) const { return y + (t * batch + b) * hidden; }
  // h before step s of sequence b; null: zero.
  const float* Before(size_t s, size_t b) const {
    if (s > 0) return State(At(s - 1, b), b);
    return initial == nullptr ? nullptr : initial + b * hidden;
  }
};

const float* OptionalFloats(const EvalContext& context, size_t i) {
  return i < context.inputs.size() ? context.inputs[i].as<float>() : nullptr;
}

// Inputs: gates, weight, then at `lengths`, `initial` those optional ones.
absl::Status Read(const EvalContext& context, size_t gates, Recurrence* r) {
  TALLY_RETURN_IF_ERROR(CheckData(context, 2));
  const Shape& shape = context.inputs[0].shape;
  r->steps = static_cast<size_t>(shape[0]);
  r->batch = static_cast<size_t>(shape[1]);
  r->gates = gates;
  r->hidden = static_cast<size_t>(context.inputs[1].shape[1]);
  r->x = context.inputs[0].as<float>();
  r->weight = context.inputs[1].as<float>();
  r->lengths = context.inputs.size() > 2 ? context.inputs[2].as<int32_t>() : nullptr;
  r->initial = OptionalFloats(context, 3);
  r->reverse = IntAttribute(context.node, "reverse", 0) != 0;
  r->y = context.outputs[0].as<float>();
  r->last_h = context.outputs[1].as<float>();
  for (size_t b = 0; r->lengths != nullptr && b < r->batch; ++b) {
    if (r->lengths[b] >= 0 && static_cast<size_t>(r->lengths[b]) <= r->steps) continue;
    return MakeError(ErrorId::kBadNodeInputs, absl::StrCat(context.node.op, ": sequence_lens[", b, "] is ",
                                                           r->lengths[b], ", expected 0 .. ", r->steps));
  }
  // Many steps of nothing would only take time.
  if (r->batch * r->hidden == 0) r->steps = 0;
  // What lies behind the end of a sequence.
  std::fill_n(r->y, r->steps * r->batch * r->hidden, 0.0f);
  return absl::OkStatus();
}

// state . row of the weight.
float Product(const Recurrence& r, const float* state, size_t gate, size_t unit) {
  return state == nullptr ? 0.0f : LaneDot(state, r.weight + (gate * r.hidden + unit) * r.hidden, r.hidden);
}

// unit(s, b, t, j) for all steps in order, for the units of all sequences that last that long in parallel.
template <typename Unit>
void ForEachUnit(const Recurrence& r, size_t s, ThreadPool* pool, const Unit& unit) {
  ParallelFor(pool, r.batch * r.hidden, TileFor(r.gates * r.hidden), [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const size_t b = i / r.hidden;
      if (s < r.Length(b)) unit(b, r.At(s, b), i % r.hidden);
    }
  });
}

void KeepLastState(const Recurrence& r) {
  for (size_t b = 0; b < r.batch; ++b) {
    const float* last = r.Before(r.Length(b), b);
    float* to = r.last_h + b * r.hidden;
    if (last == nullptr) {
      std::fill_n(to, r.hidden, 0.0f);
    } else {
      std::copy_n(last, r.hidden, to);
    }
  }
}

}  // namespace

absl::Status EvalRNN(const EvalContext& context) {
  Recurrence r;
  TALLY_RETURN_IF_ERROR(Read(context, 1, &r));
  for (size_t s = 0; s < r.steps; ++s) {
    ForEachUnit(r, s, context.pool, [&](size_t b, size_t t, size_t j) {
      r.State(t, b)[j] = TanhF(r.Gates(t, b)[j] + Product(r, r.Before(s, b), 0, j));
    });
  }
  KeepLastState(r);
  return absl::OkStatus();
}

absl::Status EvalLSTM(const EvalContext& context) {
  Recurrence r;
  TALLY_RETURN_IF_ERROR(Read(context, 4, &r));
  const size_t h = r.hidden;
  float* cell = context.outputs[2].as<float>();
  const float* initial_cell = OptionalFloats(context, 4);
  const float* peephole = OptionalFloats(context, 5);  // [3H]: i, o, f
  if (initial_cell == nullptr) {
    std::fill_n(cell, r.batch * h, 0.0f);
  } else {
    std::copy_n(initial_cell, r.batch * h, cell);
  }
  for (size_t s = 0; s < r.steps; ++s) {
    ForEachUnit(r, s, context.pool, [&](size_t b, size_t t, size_t j) {
      const float* gates = r.Gates(t, b);
      const float* before = r.Before(s, b);
      float& c = cell[b * h + j];
      const auto gate = [&](size_t g) { return gates[g * h + j] + Product(r, before, g, j); };
      float i = gate(0), o = gate(1), f = gate(2);
      if (peephole != nullptr) {
        i += peephole[j] * c;
        f += peephole[2 * h + j] * c;
      }
      c = SigmoidF(f) * c + SigmoidF(i) * TanhF(gate(3));
      if (peephole != nullptr) o += peephole[h + j] * c;
      r.State(t, b)[j] = SigmoidF(o) * TanhF(c);
    });
  }
  KeepLastState(r);
  return absl::OkStatus();
}

// The hidden state's candidate reads the reset state of every unit, so a step has two halves, and the state of the
// first is kept in the last state's buffer.
absl::Status EvalGRU(const EvalContext& context) {
  Recurrence r;
  TALLY_RETURN_IF_ERROR(Read(context, 3, &r));
  const size_t h = r.hidden;
  const bool reset_after = IntAttribute(context.node, "linear_before_reset", 0) != 0;
  const float* bias = OptionalFloats(context, 4);  // [H]: of the candidate's recurrent product
  for (size_t s = 0; s < r.steps; ++s) {
    // r, or, where it is applied before the product, r * h.
    ForEachUnit(r, s, context.pool, [&](size_t b, size_t t, size_t j) {
      const float* before = r.Before(s, b);
      const float reset = SigmoidF(r.Gates(t, b)[h + j] + Product(r, before, 1, j));
      const float state = before == nullptr ? 0.0f : before[j];
      r.last_h[b * h + j] = reset_after ? reset : reset * state;
    });
    ForEachUnit(r, s, context.pool, [&](size_t b, size_t t, size_t j) {
      const float* before = r.Before(s, b);
      const float* gates = r.Gates(t, b);
      const float update = SigmoidF(gates[j] + Product(r, before, 0, j));
      const float offset = bias == nullptr ? 0.0f : bias[j];
      const float reset = r.last_h[b * h + j];
      const float product =
          reset_after ? reset * (Product(r, before, 2, j) + offset) : Product(r, r.last_h + b * h, 2, j) + offset;
      const float candidate = TanhF(gates[2 * h + j] + product);
      const float state = before == nullptr ? 0.0f : before[j];
      r.State(t, b)[j] = (1.0f - update) * candidate + update * state;
    });
  }
  KeepLastState(r);
  return absl::OkStatus();
}

}  // namespace tally
