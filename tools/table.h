// A table of text cells, written aligned for terminals, as Markdown, CSV or HTML. A plain value.
#ifndef TALLY_TOOLS_TABLE_H_
#define TALLY_TOOLS_TABLE_H_

#include <string>
#include <vector>

namespace tally::tools {

class Table {
 public:
  // A title that begins with '>' makes its column right-aligned.
  explicit Table(const std::vector<std::string>& titles);

  // REQUIRES: one cell per column.
  void Add(std::vector<std::string> cells);
  bool empty() const { return rows_.size() == 1; }

  std::string Text() const;
  std::string Markdown() const;
  std::string Csv() const;
  std::string Html() const;

 private:
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;  // the titles first
};

// `name` from a file, fit for a terminal: non-printable bytes escaped, cut at `width` characters.
std::string Shown(const std::string& name, size_t width = 48);

std::string EscapeHtml(const std::string& text);

// "12.34" with `digits` decimals; "-" for NaN, "exact" is left to the caller.
std::string Fixed(double value, int digits);
// "1.50 MB", in powers of 1000.
std::string Bytes(double bytes);

// A self-contained page; `body` is HTML.
std::string HtmlPage(const std::string& title, const std::string& body);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_TABLE_H_
