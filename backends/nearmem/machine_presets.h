// The texts of machines/*.json, compiled in; machine_presets.cmake writes the definition.
#ifndef TALLY_BACKENDS_NEARMEM_MACHINE_PRESETS_H_
#define TALLY_BACKENDS_NEARMEM_MACHINE_PRESETS_H_

namespace tally::nearmem {

struct MachinePreset {
  const char* name;
  const char* text;
};

// Sorted by name, ended by an entry of null pointers.
extern const MachinePreset kMachinePresets[];

}  // namespace tally::nearmem

#endif  // TALLY_BACKENDS_NEARMEM_MACHINE_PRESETS_H_
