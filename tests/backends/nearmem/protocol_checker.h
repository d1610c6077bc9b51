// Whether a sequence of DRAM commands is legal: rows are open when they are used, every pair of commands keeps the
// distance that JEDEC's parameters demand, bursts never meet on the data bus. Written from the parameters' definitions,
// pair by pair, and not from the device model that it checks.
#ifndef TALLY_TESTS_BACKENDS_NEARMEM_PROTOCOL_CHECKER_H_
#define TALLY_TESTS_BACKENDS_NEARMEM_PROTOCOL_CHECKER_H_

#include <string>
#include <vector>

#include "backends/nearmem/sim/dram_config.h"
#include "backends/nearmem/sim/dram_request.h"

namespace tally::nearmem::testing {

// The first violation, or an empty string. `trace`: the requests by id.
std::string FindViolation(const DramConfig& config, const std::vector<DramRequest>& trace,
                          const std::vector<DramIssue>& commands);

}  // namespace tally::nearmem::testing

#endif  // TALLY_TESTS_BACKENDS_NEARMEM_PROTOCOL_CHECKER_H_
