#include "backends/nearmem/machine.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/nearmem/machine_presets.h"
#include "format/error.h"
#include "format/json.h"
#include "format/model_file.h"

namespace tally::nearmem {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxFileBytes = 1 << 20;
constexpr int kMaxBases = 8;
constexpr int kSchemaVersion = 1;

absl::Status Bad(const std::string& file, const std::string& key, const std::string& detail) {
  return MakeError(ErrorId::kBadMachine, detail, {file, "", -1, key});
}

absl::StatusOr<Json> ParseObject(const std::string& text, const std::string& file) {
  TALLY_ASSIGN_OR_RETURN(Json json, ParseJson(text, file, ErrorId::kBadMachine));
  if (!json.is_object()) return Bad(file, "", absl::StrCat("expected an object, found ", DescribeJson(json)));
  return json;
}

// A constant of a section: how to take its value. `take` returns what was expected when the value is not that.
struct Field {
  const char* key;
  bool required;
  std::function<std::string(const Json&)> take;
};

Field Int(const char* key, int* out, bool required = true) {
  return {key, required, [out](const Json& value) -> std::string {
            // Unsigned values above INT64_MAX would wrap in get<int64_t>.
            if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<uint64_t>() > INT32_MAX) ||
                value.get<int64_t>() < INT32_MIN || value.get<int64_t>() > INT32_MAX) {
              return "a 32-bit integer";
            }
            *out = value.get<int>();
            return "";
          }};
}

Field Number(const char* key, double* out) {
  return {key, true, [out](const Json& value) -> std::string {
            if (!value.is_number() || !std::isfinite(value.get<double>())) return "a finite number";
            *out = value.get<double>();
            return "";
          }};
}

Field Bool(const char* key, bool* out) {
  return {key, true, [out](const Json& value) -> std::string {
            if (!value.is_boolean()) return "true or false";
            *out = value.get<bool>();
            return "";
          }};
}

// `names` in the order of the enumeration.
template <typename Enum>
Field Choice(const char* key, const std::vector<std::string>& names, Enum* out) {
  return {key, true, [names, out](const Json& value) {
            const auto it = value.is_string() ? std::find(names.begin(), names.end(), value) : names.end();
            if (it == names.end()) return absl::StrCat("one of ", absl::StrJoin(names, ", "));
            *out = static_cast<Enum>(it - names.begin());
            return std::string();
          }};
}

// Reads the sections of one machine and notes its constants.
class Reader {
 public:
  Reader(const Json& json, Machine* machine) : json_(json), machine_(machine) {}

  absl::Status Read() {
    TALLY_RETURN_IF_ERROR(OnlyKnown(json_, "", {"schema_version", "description", "sources", "dram", "accelerator"}));
    TALLY_RETURN_IF_ERROR(ReadHeader());
    TALLY_RETURN_IF_ERROR(ReadDram());
    return json_.contains("accelerator") ? ReadAccelerator() : absl::OkStatus();
  }

 private:
  absl::Status Error(const std::string& key, const std::string& detail) const {
    return Bad(machine_->name, key, detail);
  }

  static std::string Join(const std::string& section, const std::string& key) {
    return section.empty() ? key : absl::StrCat(section, ".", key);
  }

  absl::Status OnlyKnown(const Json& object, const std::string& section, const std::vector<std::string>& known) const {
    for (const auto& item : object.items()) {
      if (std::find(known.begin(), known.end(), item.key()) != known.end()) continue;
      return Error(section,
                   absl::StrCat("unknown key ", Quoted(item.key()), "; known keys: ", absl::StrJoin(known, ", ")));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<const Json*> Object(const Json& parent, const std::string& section, const std::string& key) const {
    const auto it = parent.find(key);
    if (it == parent.end()) return Error(Join(section, key), "expected this key, found none");
    if (!it->is_object())
      return Error(Join(section, key), absl::StrCat("expected an object, found ", DescribeJson(*it)));
    return &*it;
  }

  absl::Status ReadHeader() {
    const auto version = json_.find("schema_version");
    if (version == json_.end() || *version != kSchemaVersion) {
      return Error("schema_version", absl::StrCat("expected ", kSchemaVersion, ", found ",
                                                  version == json_.end() ? "none" : DescribeJson(*version)));
    }
    if (const auto it = json_.find("description"); it != json_.end()) {
      if (!it->is_string()) return Error("description", absl::StrCat("expected a string, found ", DescribeJson(*it)));
      machine_->description = it->get<std::string>();
    }
    TALLY_ASSIGN_OR_RETURN(const Json* sources, Object(json_, "", "sources"));
    for (const auto& item : sources->items()) {
      const bool text = item.value().is_string() && !item.value().get_ref<const std::string&>().empty();
      if (!text) {
        return Error(Join("sources", Quoted(item.key())),
                     absl::StrCat("expected a text, found ", DescribeJson(item.value())));
      }
      sources_[item.key()] = item.value().get<std::string>();
    }
    return absl::OkStatus();
  }

  // Reads the constants of `parent`[key].
  absl::Status ReadSection(const Json& parent, const std::string& in, const std::string& key,
                           const std::vector<Field>& fields) {
    TALLY_ASSIGN_OR_RETURN(const Json* object, Object(parent, in, key));
    const std::string section = Join(in, key);
    std::vector<std::string> known;
    for (const Field& field : fields) known.emplace_back(field.key);
    TALLY_RETURN_IF_ERROR(OnlyKnown(*object, section, known));
    for (const Field& field : fields) {
      const std::string path = Join(section, field.key);
      const auto it = object->find(field.key);
      if (it == object->end()) {
        if (field.required) return Error(path, "expected this key, found none");
        continue;
      }
      if (!it->is_array() || it->size() != 2 || !(*it)[1].is_string()) {
        return Error(path, absl::StrCat("expected [value, \"source\"], found ", DescribeJson(*it)));
      }
      const Json& value = (*it)[0];
      const std::string expected = field.take(value);
      if (!expected.empty()) return Error(path, absl::StrCat("expected ", expected, ", found ", DescribeJson(value)));
      const auto source = sources_.find((*it)[1].get<std::string>());
      if (source == sources_.end()) {
        return Error(path, absl::StrCat("expected a key of sources, found ", DescribeJson((*it)[1])));
      }
      machine_->constants.push_back({path, value.dump(), source->second});
    }
    return absl::OkStatus();
  }

  absl::Status ReadDram() {
    DramConfig& dram = machine_->dram;
    TALLY_ASSIGN_OR_RETURN(const Json* json, Object(json_, "", "dram"));
    TALLY_RETURN_IF_ERROR(OnlyKnown(*json, "dram", {"geometry", "controller", "timing", "links", "energy"}));

    DramGeometry& g = dram.geometry;
    TALLY_RETURN_IF_ERROR(
        ReadSection(*json, "dram", "geometry",
                    {Int("bank_groups", &g.bank_groups), Int("banks_per_group", &g.banks_per_group),
                     Int("rows", &g.rows), Int("bursts_per_row", &g.bursts_per_row), Int("burst_bytes", &g.burst_bytes),
                     Int("pseudo_channels", &g.pseudo_channels)}));

    // What only some kinds of controller use may be absent; Validate asks for it where it is used.
    DramController& q = dram.controller;
    TALLY_RETURN_IF_ERROR(ReadSection(
        *json, "dram", "controller",
        {Choice("queues", {"per_bank", "shared"}, &q.queues), Choice("writes", {"in_order", "drain"}, &q.writes),
         Choice("page_policy", {"open", "closed", "closed_cap"}, &q.page_policy),
         Choice("refresh", {"none", "all_bank", "per_bank"}, &q.refresh), Bool("dual_command_bus", &q.dual_command_bus),
         Int("read_queue", &q.read_queue), Int("bank_queue", &q.bank_queue, false),
         Int("row_hit_limit", &q.row_hit_limit, false), Int("write_queue", &q.write_queue, false),
         Int("drain_high", &q.drain_high, false), Int("drain_idle", &q.drain_idle, false),
         Int("drain_low", &q.drain_low, false), Int("column_cap", &q.column_cap, false)}));

    DramTiming& t = dram.timing;
    TALLY_RETURN_IF_ERROR(ReadSection(*json, "dram", "timing",
                                      {Number("tck_ns", &t.tck_ns),
                                       Int("burst", &t.burst),
                                       Int("cl", &t.cl),
                                       Int("cwl", &t.cwl),
                                       Int("rcd_read", &t.rcd_read),
                                       Int("rcd_write", &t.rcd_write),
                                       Int("rp", &t.rp),
                                       Int("ras", &t.ras),
                                       Int("rrd_s", &t.rrd_s),
                                       Int("rrd_l", &t.rrd_l),
                                       Int("faw", &t.faw),
                                       Int("ccd_s", &t.ccd_s),
                                       Int("ccd_l", &t.ccd_l),
                                       Int("wtr_s", &t.wtr_s),
                                       Int("wtr_l", &t.wtr_l),
                                       Int("wr", &t.wr),
                                       Int("rtp", &t.rtp),
                                       Int("rtp_auto", &t.rtp_auto),
                                       Int("turnaround", &t.turnaround),
                                       Int("act_cycles", &t.act_cycles),
                                       Int("rfc", &t.rfc, false),
                                       Int("refi", &t.refi, false),
                                       Int("rfc_bank", &t.rfc_bank, false),
                                       Int("rrefd", &t.rrefd, false),
                                       Int("refi_bank", &t.refi_bank, false)}));

    if (json->contains("links")) {
      DramLinks links;
      TALLY_RETURN_IF_ERROR(
          ReadSection(*json, "dram", "links",
                      {Int("links", &links.links), Int("queue_depth", &links.queue_depth),
                       Int("flit_bytes", &links.flit_bytes), Int("crossbar_flits", &links.crossbar_flits)}));
      dram.links = links;
    }

    DramEnergy& e = dram.energy;
    TALLY_ASSIGN_OR_RETURN(const Json* energy, Object(*json, "dram", "energy"));
    TALLY_RETURN_IF_ERROR(OnlyKnown(*energy, "dram.energy", {"events", "flat"}));
    TALLY_RETURN_IF_ERROR(ReadSection(
        *energy, "dram.energy", "events",
        {Number("activate_pj", &e.activate_pj), Number("read_pj", &e.read_pj), Number("write_pj", &e.write_pj),
         Number("io_pj_per_bit", &e.io_pj_per_bit), Number("refresh_pj", &e.refresh_pj),
         Number("active_standby_mw", &e.active_standby_mw), Number("precharge_standby_mw", &e.precharge_standby_mw)}));
    TALLY_RETURN_IF_ERROR(
        ReadSection(*energy, "dram.energy", "flat",
                    {Number("pj_per_bit", &e.flat_pj_per_bit), Number("background_mw", &e.flat_background_mw)}));

    return Checked("dram", Validate(dram));
  }

  absl::Status ReadAccelerator() {
    AcceleratorConfig& a = machine_->accelerator.emplace();
    TALLY_ASSIGN_OR_RETURN(const Json* json, Object(json_, "", "accelerator"));
    TALLY_RETURN_IF_ERROR(OnlyKnown(*json, "accelerator", {"lanes", "sram", "post", "noc", "link", "prefetch"}));
    LaneConfig& l = a.lanes;
    TALLY_RETURN_IF_ERROR(ReadSection(
        *json, "accelerator", "lanes",
        {Int("lanes", &l.lanes), Int("clock_divider", &l.clock_divider),
         Choice("counters", {"flip_flop", "sram"}, &l.counters), Int("counter_bits", &l.counter_bits),
         Int("lanes_per_multiplier", &l.lanes_per_multiplier), Int("sorter_codes", &l.sorter_codes),
         Bool("skip_zeros", &l.skip_zeros), Number("mac_pj", &l.mac_pj), Number("mac_um2", &l.mac_um2),
         Number("counter_pj_per_bit", &l.counter_pj_per_bit), Number("counter_um2_per_bit", &l.counter_um2_per_bit),
         Number("sram_counter_pj", &l.sram_counter_pj), Number("sram_um2_per_bit", &l.sram_um2_per_bit),
         Number("adder_pj", &l.adder_pj), Number("adder_um2", &l.adder_um2),
         Number("register_pj_per_bit", &l.register_pj_per_bit), Number("spill_pj", &l.spill_pj)}));
    SramConfig& s = a.sram;
    TALLY_RETURN_IF_ERROR(
        ReadSection(*json, "accelerator", "sram",
                    {Int("activation_bytes", &s.activation_bytes), Int("weight_bytes", &s.weight_bytes),
                     Int("accumulator_bytes", &s.accumulator_bytes), Int("port_bytes", &s.port_bytes),
                     Int("word_bytes", &s.word_bytes), Number("read_pj", &s.read_pj), Number("write_pj", &s.write_pj),
                     Number("um2_per_byte", &s.um2_per_byte)}));
    TALLY_RETURN_IF_ERROR(
        ReadSection(*json, "accelerator", "post",
                    {Int("macs_per_cycle", &a.post.macs_per_cycle), Number("mac_pj", &a.post.mac_pj),
                     Number("mac_um2", &a.post.mac_um2), Int("quantizer_values", &a.post.quantizer_values),
                     Number("quantizer_pj", &a.post.quantizer_pj)}));
    TALLY_RETURN_IF_ERROR(ReadSection(
        *json, "accelerator", "noc",
        {Int("columns", &a.noc.columns), Int("rows", &a.noc.rows), Int("bytes_per_cycle", &a.noc.bytes_per_cycle),
         Int("hop_cycles", &a.noc.hop_cycles), Number("pj_per_bit_hop", &a.noc.pj_per_bit_hop)}));
    TALLY_RETURN_IF_ERROR(ReadSection(*json, "accelerator", "link",
                                      {Number("gb_s", &a.link.gb_s), Number("pj_per_bit", &a.link.pj_per_bit)}));
    TALLY_RETURN_IF_ERROR(ReadSection(*json, "accelerator", "prefetch", {Int("fifo_bytes", &a.fifo_bytes)}));
    return Checked("accelerator", Validate(a));
  }

  // A validator's "timing.refi: expected ..." under its section.
  absl::Status Checked(const std::string& section, const absl::Status& valid) const {
    if (valid.ok()) return valid;
    const std::string what(valid.message());
    const size_t colon = what.find(": ");
    return Error(Join(section, what.substr(0, colon)), what.substr(colon + 2));
  }

  const Json& json_;
  Machine* machine_;
  std::map<std::string, std::string> sources_;
};

const MachinePreset* FindPreset(const std::string& name) {
  for (const MachinePreset* p = kMachinePresets; p->name != nullptr; ++p) {
    if (name == p->name) return p;
  }
  return nullptr;
}

// `json` laid over its bases. `depth`: how many files led here.
absl::StatusOr<Json> WithBases(Json json, const std::string& file, int depth = 0) {
  const auto it = json.find("base");
  if (it == json.end()) return json;
  const Json names = it->is_array() ? *it : Json::array({*it});
  json.erase(it);
  Json merged = Json::object();
  for (const Json& name : names) {
    const MachinePreset* preset = name.is_string() ? FindPreset(name.get<std::string>()) : nullptr;
    if (preset == nullptr || depth == kMaxBases) {
      return Bad(
          file, "base",
          absl::StrCat("expected one of ", absl::StrJoin(MachinePresets(), ", "), ", found ", DescribeJson(name)));
    }
    TALLY_ASSIGN_OR_RETURN(Json base, ParseObject(preset->text, preset->name));
    TALLY_ASSIGN_OR_RETURN(base, WithBases(std::move(base), preset->name, depth + 1));
    merged.merge_patch(base);
  }
  merged.merge_patch(json);
  return merged;
}

}  // namespace

const std::vector<std::string>& MachinePresets() {
  static const auto* names = [] {
    auto* list = new std::vector<std::string>;
    for (const MachinePreset* p = kMachinePresets; p->name != nullptr; ++p) list->emplace_back(p->name);
    return list;
  }();
  return *names;
}

absl::StatusOr<Machine> ParseMachine(const std::string& text, const std::string& name) {
  TALLY_ASSIGN_OR_RETURN(Json json, ParseObject(text, name));
  TALLY_ASSIGN_OR_RETURN(json, WithBases(std::move(json), name));
  Machine machine;
  machine.name = name;
  TALLY_RETURN_IF_ERROR(Reader(json, &machine).Read());
  return machine;
}

absl::StatusOr<Machine> LoadMachine(const std::string& preset_or_path) {
  if (const MachinePreset* preset = FindPreset(preset_or_path)) return ParseMachine(preset->text, preset->name);
  absl::StatusOr<Blob> bytes = ReadWholeFile(preset_or_path, kMaxFileBytes);
  if (absl::IsNotFound(bytes.status())) {
    return MakeError(
        ErrorId::kNotFound,
        absl::StrCat("expected a file or one of ", absl::StrJoin(MachinePresets(), ", "), ", found neither"),
        {preset_or_path, "", -1, ""});
  }
  TALLY_RETURN_IF_ERROR(bytes.status());
  return ParseMachine(std::string(bytes->as<char>(), bytes->size()), preset_or_path);
}

absl::StatusOr<Machine> LoadAccelerator(const std::string& preset_or_path) {
  TALLY_ASSIGN_OR_RETURN(Machine machine, LoadMachine(preset_or_path));
  if (!machine.accelerator) return Bad(preset_or_path, "accelerator", "expected this key, found none");
  return machine;
}

}  // namespace tally::nearmem
