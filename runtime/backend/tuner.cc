#include "runtime/backend/tuner.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/core/guarded.h"

namespace tally {
namespace {

// With fewer runs of each nothing is decided; the first is for pages and caches to come into being. The shortest of 25
// repeats to about 1 % on a machine with other work.
constexpr int kMinRuns = 3;
constexpr int kMaxRounds = 25;
// When runs still lack after so many rounds, the machine is too busy.
constexpr int kPatience = 2 * kMinRuns;
// Of the whole time; what one node takes at most beyond kMinRuns.
constexpr double kNodeShare = 0.1;
// What is so much slower than the fastest after kMinRuns does not catch up.
constexpr double kHopeless = 1.5;
// A variant must be faster than the rule's by more than this, so that the choice does not follow the noise.
constexpr double kMargin = 0.03;
// Operands of a larger node are not made up: a plan says first whether its own memory suffices.
constexpr size_t kMaxOperandBytes = size_t{1} << 28;

size_t EvictingBytes() {
  const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return std::clamp<size_t>(l2 > 0 ? static_cast<size_t>(l2) : 0, size_t{1} << 18, size_t{4} << 20);
}

// Brings every line into the caches.
void Read(const uint8_t* data, size_t bytes) {
  uint8_t sum = 0;
  for (size_t i = 0; i < bytes; i += 64) sum = static_cast<uint8_t>(sum + data[i]);
  const volatile uint8_t sink = sum;
  static_cast<void>(sink);
}

std::string CodebookKey(const Codebook& c) {
  return absl::StrCat("n", c.exponent_bits, c.is_signed ? "s" : "u", GridName(c.grid));
}

std::string TensorKey(const Tensor* tensor, const TensorType& type) {
  if (tensor == nullptr) return "-";
  std::string key = absl::StrCat(DTypeName(type.dtype), " ", ShapeString(type.shape));
  if (tensor->is_constant()) absl::StrAppend(&key, " constant");
  if (tensor->codes.has_value()) absl::StrAppend(&key, " ", CodebookKey(tensor->codes->codebook));
  if (tensor->codebook.has_value()) absl::StrAppend(&key, " ", CodebookKey(*tensor->codebook));
  return key;
}

// All that the speed of a node depends on, but for the values of its operands.
std::string MakeKey(const NodeContext& context, const std::vector<NodeVariant>& variants) {
  static const std::string cpu = CpuModelName();
  std::vector<std::string> parts = {absl::StrCat("tally ", TALLY_VERSION), cpu, absl::StrCat("isas ", context.cpu.isas),
                                    absl::StrCat("threads ", context.num_threads), context.node.op};
  for (const Attribute& a : context.node.attributes) {
    parts.push_back(absl::StrCat(a.name, "=", a.string, absl::StrJoin(a.ints, ","), absl::StrJoin(a.floats, ",")));
  }
  for (size_t i = 0; i < context.inputs.size(); ++i) {
    parts.push_back(TensorKey(context.input(i), context.inputs[i]));
  }
  for (const TensorType& t : context.outputs) parts.push_back("to " + ShapeString(t.shape));
  for (const NodeVariant& v : variants) parts.push_back(absl::StrCat(v.name, v.version.empty() ? "" : "@", v.version));
  // One line of printable characters, whatever the names of a file hold.
  return absl::CEscape(absl::StrJoin(parts, "|"));
}

std::string Describe(const TuningDecision& decision, const std::vector<NodeVariant>& variants) {
  const std::vector<double>& us = decision.microseconds;
  std::string text = absl::StrFormat("measured %.1f us", us[decision.chosen]);
  bool is_close = false;
  for (size_t i = 0; i < us.size(); ++i) {
    if (i == decision.chosen) continue;
    absl::StrAppend(&text, ", ", variants[i].name);
    absl::StrAppend(&text, us[i] < 0 ? " failed" : absl::StrFormat(" %.1f us", us[i]));
    is_close = is_close || (us[i] >= 0 && us[i] < us[decision.chosen]);
  }
  if (is_close) absl::StrAppend(&text, " (within 3 %)");
  return text;
}

absl::StatusOr<std::unique_ptr<CompiledNode>> Compile(const NodeVariant& variant) {
  return Guarded([&] { return variant.compile(); });
}

}  // namespace

// A compiled variant with operands of its own.
class Tuner::Trial {
 public:
  Trial(size_t index, std::unique_ptr<CompiledNode> compiled) : variant(index), node(std::move(compiled)) {}

  // Error: kOutOfMemory when they would be too large; throws std::bad_alloc.
  absl::Status MakeOperands(const NodeContext& context) {
    size_t bytes = node->scratch_bytes();
    for (const TensorType& t : context.inputs) bytes += t.bytes();
    for (const TensorType& t : context.outputs) bytes += t.bytes();
    if (bytes > kMaxOperandBytes) return MakeError(ErrorId::kOutOfMemory, absl::StrCat(bytes, " bytes of operands"));
    for (size_t i = 0; i < context.inputs.size(); ++i) inputs_.push_back(MakeInput(context, i));
    for (const TensorType& t : context.outputs) {
      results_.emplace_back(t.bytes());
      outputs_.push_back(results_.back().data());
    }
    scratch_ = AlignedBuffer(node->scratch_bytes());
    return absl::OkStatus();
  }

  void ReadInputs() const {
    for (const AlignedBuffer& b : operands_) Read(b.data(), b.size());
  }
  absl::Status Run(ThreadPool* pool) { return node->Run({inputs_.data(), outputs_.data(), scratch_.data(), pool}); }

  size_t variant;
  std::unique_ptr<CompiledNode> node;
  int runs = 0;                                           // that count
  double best = std::numeric_limits<double>::infinity();  // seconds
  bool has_failed = false;

 private:
  const void* MakeInput(const NodeContext& context, size_t i) {
    const Tensor* tensor = context.input(i);
    if (tensor == nullptr) return nullptr;
    const Encoding encoding = node->input_encoding(i);
    if (encoding == Encoding::kPlain && tensor->is_constant()) return tensor->has_data ? tensor->data.data() : nullptr;
    const TensorType& type = context.inputs[i];
    const size_t count = static_cast<size_t>(type.elements());
    operands_.emplace_back(encoding == Encoding::kPlain ? type.bytes() : count);
    uint8_t* data = operands_.back().data();
    std::minstd_rand random(static_cast<unsigned>(i) + 1);
    if (encoding == Encoding::kCodes && tensor->codebook.has_value()) {
      const std::vector<uint8_t> codes = LikelyCodes(*tensor->codebook);
      for (size_t k = 0; k < count; ++k) data[k] = codes[random() % codes.size()];
    } else if (encoding == Encoding::kInt8) {
      const unsigned values = static_cast<unsigned>(node->int8_max_value()) + 1;
      for (size_t k = 0; k < count; ++k) data[k] = static_cast<uint8_t>(random() % values);
    } else if (type.dtype == DType::kFloat32) {
      float* values = operands_.back().as<float>();
      for (size_t k = 0; k < count; ++k) values[k] = static_cast<float>(random() % 2001) / 1000.0f - 1;
    } else {
      std::memset(data, 0, operands_.back().size());
    }
    return data;
  }

  // Every valid code; as many zeros besides where none is negative, since half is what Relu leaves.
  static std::vector<uint8_t> LikelyCodes(const Codebook& book) {
    std::vector<uint8_t> codes;
    for (int code = 0; code < book.code_count(); ++code) {
      if (book.is_valid_code(static_cast<unsigned>(code))) codes.push_back(static_cast<uint8_t>(code));
    }
    if (!book.is_signed) codes.resize(codes.size() * 2 - 1);
    return codes;
  }

  std::vector<AlignedBuffer> operands_, results_;
  std::vector<const void*> inputs_;
  std::vector<void*> outputs_;
  AlignedBuffer scratch_;
};

TunerClock Tuner::Now() const {
  if (options_.clock) return options_.clock();
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return {std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(), usage.ru_nivcsw};
}

absl::StatusOr<Tuner::Choice> Tuner::Choose(const NodeContext& context, const std::vector<NodeVariant>& variants) {
  if (variants.size() == 1 || !options_.measure) {
    absl::StatusOr<std::unique_ptr<CompiledNode>> node = variants[0].compile();
    if (!node.ok()) return node.status();
    return Choice{*std::move(node), 0, variants.size() == 1 ? "only kernel" : "rule"};
  }
  if (!has_read_file_) SyncCache();
  has_read_file_ = true;
  const std::string key = MakeKey(context, variants);
  if (const std::optional<TuningDecision> known = options_.cache->Find(key);
      known.has_value() && known->microseconds.size() == variants.size()) {
    absl::StatusOr<std::unique_ptr<CompiledNode>> node = Compile(variants[known->chosen]);
    if (node.ok()) {
      return Choice{*std::move(node), known->chosen, absl::StrCat("cached: ", Describe(*known, variants))};
    }
  }
  return Measure(context, variants, key);
}

absl::StatusOr<Tuner::Choice> Tuner::Measure(const NodeContext& context, const std::vector<NodeVariant>& variants,
                                             const std::string& key) {
  const bool may_run = left_ > 0 && pool_->usable();  // not in a child of fork(): the workers do not exist there
  std::vector<Trial> trials;
  absl::Status error;
  double start = 0;
  for (size_t i = 0; i < variants.size(); ++i) {
    absl::StatusOr<std::unique_ptr<CompiledNode>> node = Compile(variants[i]);
    if (!node.ok()) {
      error.Update(node.status());
      continue;
    }
    trials.emplace_back(i, *std::move(node));
    if (!may_run) break;
    if (trials.size() == 1) start = Now().seconds;  // this one would have been compiled anyway
  }
  if (trials.empty()) return error;
  std::string why;
  if (!may_run) {
    why = left_ > 0 ? "rule" : "rule: no time left to measure";
  } else if (trials.size() == 1) {
    why = "only kernel that compiled";
  } else {
    why = Race(context, &trials);
  }
  if (may_run) left_ -= Now().seconds - start;
  if (!why.empty()) {
    auto first = std::find_if(trials.begin(), trials.end(), [](const Trial& t) { return !t.has_failed; });
    if (first == trials.end()) first = trials.begin();
    return Choice{std::move(first->node), first->variant, why};
  }

  TuningDecision decision;
  decision.microseconds.assign(variants.size(), -1);
  Trial* chosen = nullptr;
  for (Trial& t : trials) {
    if (t.has_failed) continue;
    decision.microseconds[t.variant] = t.best * 1e6;
    const bool is_rule = chosen != nullptr && chosen->variant == 0;
    if (chosen == nullptr || t.best < chosen->best * (is_rule ? 1 - kMargin : 1)) chosen = &t;
  }
  decision.chosen = chosen->variant;
  // What failed once may have lacked but memory.
  if (*std::min_element(decision.microseconds.begin(), decision.microseconds.end()) >= 0) {
    options_.cache->Insert(key, decision);
    has_news_ = true;
  }
  return Choice{std::move(chosen->node), chosen->variant, Describe(decision, variants)};
}

std::string Tuner::Race(const NodeContext& context, std::vector<Trial>* trials) {
  const double start = Now().seconds;
  const absl::Status made = Guarded([&] {
    if (evicting_.size() == 0) {
      evicting_ = AlignedBuffer(EvictingBytes());
      std::memset(evicting_.data(), 1, evicting_.size());
    }
    for (Trial& t : *trials) TALLY_RETURN_IF_ERROR(t.MakeOperands(context));
    return absl::OkStatus();
  });
  if (!made.ok()) return "rule: too large to try";
  const ScopedFpEnvironment environment;
  std::vector<Trial*> running;
  for (Trial& t : *trials) running.push_back(&t);
  const auto is_decided = [&] {
    return std::all_of(running.begin(), running.end(), [](const Trial* t) { return t->runs >= kMinRuns; });
  };
  for (int round = 0; round < kMaxRounds && (running.size() > 1 || !is_decided()); ++round) {
    if (is_decided() && Now().seconds - start > options_.seconds * kNodeShare) break;
    if (!is_decided() && round >= kPatience) return "rule: too busy to measure";
    for (Trial* t : running) {
      const double left = left_ - (Now().seconds - start);
      if (left <= 0) return is_decided() ? "" : "rule: no time left to measure";
      t->has_failed = !Guarded([&] { return RunOnce(t); }).ok();
      const double needed = t->best * kMinRuns * static_cast<double>(running.size());
      if (t->runs == 1 && needed > left) return "rule: too slow to try";
    }
    double fastest = std::numeric_limits<double>::infinity();
    for (const Trial* t : running) fastest = t->has_failed ? fastest : std::min(fastest, t->best);
    const auto is_out = [&](const Trial* t) {
      return t->has_failed || (t->runs >= kMinRuns && t->best > kHopeless * fastest);
    };
    running.erase(std::remove_if(running.begin(), running.end(), is_out), running.end());
  }
  return running.empty() ? "rule: none ran" : "";
}

absl::Status Tuner::RunOnce(Trial* trial) {
  const size_t threads = static_cast<size_t>(pool_->num_threads());
  pool_->ParallelFor(threads, 1, [&](size_t begin, size_t end) {
    for (; begin < end; ++begin) Read(evicting_.data(), evicting_.size());
  });
  trial->ReadInputs();
  const TunerClock start = Now();
  TALLY_RETURN_IF_ERROR(trial->Run(pool_));
  const TunerClock end = Now();
  if (end.preemptions != start.preemptions) return absl::OkStatus();
  ++trial->runs;
  trial->best = std::min(trial->best, end.seconds - start.seconds);
  return absl::OkStatus();
}

void Tuner::Save() {
  if (has_news_) SyncCache();
}

void Tuner::SyncCache() {
  if (options_.cache_dir.empty()) return;
  const absl::Status status = Guarded([&] { return options_.cache->Sync(options_.cache_dir); });
  if (!status.ok() && options_.warn) options_.warn(absl::StrCat("cache of tuning: ", std::string(status.message())));
}

}  // namespace tally
