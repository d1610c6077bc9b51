// Einsum of one or two operands: as transposes, sums and, where each operand has at most one free and one summed
// index, a MatMul; else as a product over all indices.
#include <algorithm>
#include <cctype>
#include <string>
#include <utility>

#include "converter/onnx/operators.h"

namespace tally {
namespace {

// A tensor and the index that each of its dimensions runs over.
struct Term {
  int tensor = -1;
  std::string indices;
};

bool Has(const std::string& indices, char index) { return indices.find(index) != std::string::npos; }

Term Transposed(NodeImport& n, Term term, const std::string& order) {
  if (term.indices == order) return term;
  Node node = n.MakeNode("Transpose", {term.tensor});
  std::vector<int64_t> perm;
  for (char index : order) perm.push_back(static_cast<int64_t>(term.indices.find(index)));
  node.SetInts("perm", std::move(perm));
  return {n.EmitPart(std::move(node), "transposed"), order};
}

Term SummedOver(NodeImport& n, Term term, const std::string& summed) {
  std::vector<int64_t> axes;
  std::string kept;
  for (size_t i = 0; i < term.indices.size(); ++i) {
    if (Has(summed, term.indices[i])) {
      axes.push_back(static_cast<int64_t>(i));
    } else {
      kept += term.indices[i];
    }
  }
  if (axes.empty()) return term;
  Node node = n.MakeNode("ReduceSum", {term.tensor, n.AddInts("axes", axes)});
  node.SetInts("keepdims", {0});
  return {n.EmitPart(std::move(node), "sum"), kept};
}

// Dimensions of 1 where the term lacks an index of `order`, and the others in that order.
Term Aligned(NodeImport& n, Term term, const std::string& order) {
  std::string mine;
  std::vector<int64_t> axes;
  for (size_t i = 0; i < order.size(); ++i) {
    if (Has(term.indices, order[i])) {
      mine += order[i];
    } else {
      axes.push_back(static_cast<int64_t>(i));
    }
  }
  term = Transposed(n, std::move(term), mine);
  if (!axes.empty()) term.tensor = n.Part("Unsqueeze", {term.tensor, n.AddInts("axes", axes)});
  term.indices = order;
  return term;
}

// The diagonal of two dimensions with the same index: everything else is cut off and summed over.
Term Diagonals(NodeImport& n, Term term) {
  for (size_t i = 0; i < term.indices.size(); ++i) {
    const size_t again = term.indices.find(term.indices[i], i + 1);
    if (again == std::string::npos) continue;
    Node last = n.MakeNode("Transpose", {term.tensor});
    std::vector<int64_t> perm;
    std::string kept;
    for (size_t k = 0; k < term.indices.size(); ++k) {
      if (k == i || k == again) continue;
      perm.push_back(static_cast<int64_t>(k));
      kept += term.indices[k];
    }
    perm.push_back(static_cast<int64_t>(i));
    perm.push_back(static_cast<int64_t>(again));
    last.SetInts("perm", std::move(perm));
    const char index = term.indices[i];
    Node lower = n.MakeNode("Trilu", {n.Part("Trilu", {n.EmitPart(std::move(last), "transposed")})});
    lower.SetInts("upper", {0});
    Node sum = n.MakeNode("ReduceSum", {n.EmitPart(std::move(lower), "diagonal"), n.AddInts("axes", {-1})});
    sum.SetInts("keepdims", {0});
    return Diagonals(n, {n.EmitPart(std::move(sum), "sum"), kept + index});
  }
  return term;
}

Term Product(NodeImport& n, Term a, Term b, const std::string& out) {
  // Indices of one operand alone that are summed are summed first.
  const auto alone = [&](const Term& term, const Term& other) {
    std::string summed;
    for (char index : term.indices) {
      if (!Has(other.indices, index) && !Has(out, index)) summed += index;
    }
    return summed;
  };
  const std::string only_a = alone(a, b), only_b = alone(b, a);
  a = SummedOver(n, std::move(a), only_a);
  b = SummedOver(n, std::move(b), only_b);
  std::string batch, summed, free_a, free_b;
  for (char index : a.indices) {
    (!Has(b.indices, index) ? free_a : Has(out, index) ? batch : summed) += index;
  }
  for (char index : b.indices) {
    if (!Has(a.indices, index)) free_b += index;
  }
  if (summed.size() != 1 || free_a.size() > 1 || free_b.size() > 1) {
    const std::string all = batch + free_a + free_b + summed;
    const int product = n.Part("Mul", {Aligned(n, std::move(a), all).tensor, Aligned(n, std::move(b), all).tensor});
    return SummedOver(n, {product, all}, summed);
  }
  // '<' and '>' stand for rows and columns that an operand does not have.
  const std::string rows = free_a.empty() ? "<" : free_a, columns = free_b.empty() ? ">" : free_b;
  a = Aligned(n, std::move(a), batch + rows + summed);
  b = Aligned(n, std::move(b), batch + summed + columns);
  return {n.Part("MatMul", {a.tensor, b.tensor}), batch + rows + columns};
}

}  // namespace

void ImportEinsum(NodeImport& n) {
  std::string equation = n.String("equation", "");
  equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
  const size_t arrow = equation.find("->");
  std::string left = equation.substr(0, arrow);
  std::string out = arrow == std::string::npos ? "" : equation.substr(arrow + 2);
  if (n.num_inputs() > 2) return n.Unsupported("more than two operands");
  std::vector<Term> terms;
  std::string all, dots;
  for (size_t i = 0; i < n.num_inputs(); ++i) {
    const size_t comma = left.find(',');
    Term term{n.input(i), left.substr(0, comma)};
    left = comma == std::string::npos ? "" : left.substr(comma + 1);
    const int rank = n.Rank(i);
    if (rank < 0) return;
    if (const size_t at = term.indices.find("..."); at != std::string::npos) {
      const size_t named = term.indices.size() - 3;
      if (named > static_cast<size_t>(rank)) return n.Fail("equation: more indices than dimensions");
      // Digits, from the right.
      std::string digits;
      for (size_t k = static_cast<size_t>(rank) - named; k > 0; --k) digits += static_cast<char>('0' + k - 1);
      term.indices.replace(at, 3, digits);
      if (digits.size() > dots.size()) dots = digits;
    }
    if (term.indices.size() != static_cast<size_t>(rank)) return n.Fail("equation: expected one index per dimension");
    for (char c : term.indices) {
      if (!std::isalnum(static_cast<unsigned char>(c))) return n.Fail("equation: malformed");
    }
    all += term.indices;
    terms.push_back(std::move(term));
  }
  if (!left.empty() || terms.empty()) return n.Fail("equation: expected one term per input");
  if (arrow == std::string::npos) {
    std::string once;
    for (char index : all) {
      if (!std::isdigit(static_cast<unsigned char>(index)) && std::count(all.begin(), all.end(), index) == 1)
        once += index;
    }
    std::sort(once.begin(), once.end());
    out = dots + once;
  } else if (const size_t at = out.find("..."); at != std::string::npos) {
    out.replace(at, 3, dots);
  }
  for (char index : out) {
    if (!Has(all, index) || std::count(out.begin(), out.end(), index) != 1) return n.Fail("equation: malformed output");
  }
  for (Term& term : terms) term = Diagonals(n, std::move(term));
  Term result = terms.size() == 2 ? Product(n, terms[0], terms[1], out) : terms[0];
  std::string summed;
  std::vector<int64_t> ones;
  for (size_t i = 0; i < result.indices.size(); ++i) {
    if (result.indices[i] == '<' || result.indices[i] == '>') ones.push_back(static_cast<int64_t>(i));
    if (std::isalnum(static_cast<unsigned char>(result.indices[i])) && !Has(out, result.indices[i]))
      summed += result.indices[i];
  }
  if (!ones.empty()) {
    result.tensor = n.Part("Squeeze", {result.tensor, n.AddInts("axes", ones)});
    result.indices.erase(
        std::remove_if(result.indices.begin(), result.indices.end(), [](char c) { return c == '<' || c == '>'; }),
        result.indices.end());
  }
  result = SummedOver(n, std::move(result), summed);
  n.Emit(n.MakeNode("Identity", {Transposed(n, std::move(result), out).tensor}));
}

}  // namespace tally
