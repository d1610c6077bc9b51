// Machine descriptions: JSON files in which every constant says where it comes from. docs/nearmem.md describes them.
//
//   { "schema_version": 1,
//     "description": "...",
//     "base": "hmc",                                   a preset that this file changes (RFC 7386 merge patch), or a
//     list
//                                                      of presets, each laid over those before it
//     "sources": { "ini": "DRAMsim3's HMC .ini [V]" },
//     "dram": { "timing": { "cl": [17, "ini"], ... }, ... },
//     "accelerator": { "lanes": { "lanes": [64, "me"], ... }, ... } }          optional: the logic below the DRAM
//
// The text is untrusted: unknown and repeated keys, constants without a known source and values that no channel can be
// built from are kBadMachine with the key, what was expected and what was found.
#ifndef TALLY_BACKENDS_NEARMEM_MACHINE_H_
#define TALLY_BACKENDS_NEARMEM_MACHINE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/nearmem/sim/accelerator.h"
#include "backends/nearmem/sim/dram_config.h"

namespace tally::nearmem {

struct MachineConstant {
  std::string key;    // "dram.timing.cl"
  std::string value;  // as JSON
  std::string source;
};

struct Machine {
  std::string name;  // the preset's, or the file's path
  std::string description;
  DramConfig dram;
  std::optional<AcceleratorConfig> accelerator;
  std::vector<MachineConstant> constants;  // all of the file and its bases, in the order of the documentation
};

// The machines that come with Tally: the names of the files in machines/ without ".json", sorted.
const std::vector<std::string>& MachinePresets();

// `name` is used in messages and kept.
absl::StatusOr<Machine> ParseMachine(const std::string& text, const std::string& name);

// A preset by name, else a file by path. Errors: kNotFound (which lists the presets) and those of reading a file;
// kLimitFile above 1 MiB; kBadMachine.
absl::StatusOr<Machine> LoadMachine(const std::string& preset_or_path);

// The same; kBadMachine also where the machine has no accelerator.
absl::StatusOr<Machine> LoadAccelerator(const std::string& preset_or_path);

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_MACHINE_H_
