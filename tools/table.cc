#include "tools/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace tally::tools {

Table::Table(const std::vector<std::string>& titles) {
  rows_.emplace_back();
  for (const std::string& title : titles) {
    const bool right = !title.empty() && title[0] == '>';
    right_.push_back(right);
    rows_[0].push_back(right ? title.substr(1) : title);
  }
}

void Table::Add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::string Table::Text() const {
  std::vector<size_t> widths(right_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t c = 0; c < widths.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < widths.size(); ++c) {
      const std::string padding(widths[c] - rows_[r][c].size(), ' ');
      if (c > 0) line += "  ";
      line += right_[c] ? padding + rows_[r][c] : rows_[r][c] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
    if (r > 0) continue;
    for (size_t c = 0; c < widths.size(); ++c) absl::StrAppend(&text, c > 0 ? "  " : "", std::string(widths[c], '-'));
    text += '\n';
  }
  return text;
}

std::string Table::Markdown() const {
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    for (const std::string& cell : rows_[r]) {
      absl::StrAppend(&text, "| ", absl::StrReplaceAll(cell, {{"|", "\\|"}}), " ");
    }
    text += "|\n";
    if (r > 0) continue;
    for (bool right : right_) text += right ? "|---:" : "|---";
    text += "|\n";
  }
  return text;
}

std::string Table::Csv() const {
  std::string text;
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) {
      const bool quote = row[c].find_first_of(",\"\n") != std::string::npos;
      absl::StrAppend(&text, c > 0 ? "," : "",
                      quote ? absl::StrCat("\"", absl::StrReplaceAll(row[c], {{"\"", "\"\""}}), "\"") : row[c]);
    }
    text += '\n';
  }
  return text;
}

std::string Table::Html() const {
  std::string text = "<table>\n";
  for (size_t r = 0; r < rows_.size(); ++r) {
    const char* tag = r == 0 ? "th" : "td";
    text += "<tr>";
    for (size_t c = 0; c < rows_[r].size(); ++c) {
      absl::StrAppend(&text, "<", tag, right_[c] ? " class=\"r\">" : ">", EscapeHtml(rows_[r][c]), "</", tag, ">");
    }
    text += "</tr>\n";
  }
  return text + "</table>\n";
}

std::string Shown(const std::string& name, size_t width) {
  std::string escaped = absl::CHexEscape(name);
  if (escaped.size() > width) escaped = absl::StrCat(escaped.substr(0, width - 3), "...");
  return escaped;
}

std::string EscapeHtml(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string Fixed(double value, int digits) {
  if (std::isnan(value)) return "-";
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string Bytes(double bytes) {
  const char* units[] = {"B", "kB", "MB", "GB"};
  int unit = 0;
  while (bytes >= 1000 && unit < 3) {
    bytes /= 1000;
    ++unit;
  }
  return absl::StrCat(Fixed(bytes, unit == 0 ? 0 : 2), " ", units[unit]);
}

std::string HtmlPage(const std::string& title, const std::string& body) {
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", EscapeHtml(title),
      "</title>\n<style>\n"
      "body{font:14px system-ui,sans-serif;margin:2em;color:#222;max-width:80em}\n"
      "table{border-collapse:collapse;margin:1em 0}th,td{padding:2px 10px;border-bottom:1px solid "
      "#ddd;text-align:left}\n"
      ".r{text-align:right;font-variant-numeric:tabular-nums}svg{background:#fafafa;border:1px solid #ddd}\n"
      "</style></head><body>\n<h1>",
      EscapeHtml(title), "</h1>\n", body, "</body></html>\n");
}

}  // namespace tally::tools
