// ConvertOptions as names and values, spelled as on the command line: for a model's metadata and the report.
#ifndef TALLY_CONVERTER_OPTIONS_H_
#define TALLY_CONVERTER_OPTIONS_H_

#include <string>
#include <utility>
#include <vector>

#include "converter/convert.h"

namespace tally {

// Whether one base is shared, with the default resolved.
bool SharesBase(const ConvertOptions& options);

std::vector<std::pair<std::string, std::string>> OptionNames(const ConvertOptions& options);

}  // namespace tally

#endif  // TALLY_CONVERTER_OPTIONS_H_
