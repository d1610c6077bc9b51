// The converter's report as a self-contained page: no script, nothing fetched.
#ifndef TALLY_TOOLS_REPORT_HTML_H_
#define TALLY_TOOLS_REPORT_HTML_H_

#include <string>

#include "converter/convert.h"

namespace tally::tools {

// `title`: of the page; `environment`: HTML that ends it.
std::string ReportHtml(const ConvertReport& report, const std::string& title, const std::string& environment);

}  // namespace tally::tools

#endif  // TALLY_TOOLS_REPORT_HTML_H_
