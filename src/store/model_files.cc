#include "store/model_files.h"

#include <array>

#include "base/json.h"
#include "base/shape.h"
#include "io/gate_file.h"
#include "io/gguf.h"
#include "kernels/panels.h"
#include "store/adapter.h"
#include "store/plain_gguf.h"
#include "store/quantize_type.h"

namespace revenant {
namespace {

using nlohmann::json;

constexpr std::string_view file_prefix = "revenant.file.";

bool is_vector(const TensorSpec& spec) {
  return spec.shape.size() == 1 || spec.role == Role::position;
}

FileSet files_in(const Gguf& file) {
  if (is_plain(file)) return small_files_of_plain(file);
  std::map<std::string, std::string, std::less<>> contents;
  for (const auto& [key, value] : file.keys())
    if (key.starts_with(file_prefix)) contents[key.substr(file_prefix.size())] = file.bytes(key);
  return {file.path(), std::move(contents)};
}

// That the file is one of ours, of a version that this program knows; its layout.
std::string layout_of(const Gguf& file) {
  if (is_plain(file)) return "standard";
  const std::string& architecture = file.text("general.architecture");
  for (const char* known : {"phantom", "trol", "phantom-trol", "revenant"}) {
    if (architecture != known) continue;
    if (const int64_t version = file.integer("revenant.version"); version != 1)
      file.place("revenant.version").fail("1", std::to_string(version));
    const std::string& layout = file.text("revenant.layout");
    if (layout != "standard" && layout != panels_layout)
      file.place("revenant.layout").fail(std::string("standard or ") + panels_layout, layout);
    return layout;
  }
  file.place("general.architecture")
      .fail("phantom, trol, phantom-trol, revenant, or llama, qwen2, internlm2 or phi3 (text only)",
            architecture);
}

// The formats of the tensors that lie in panels.
std::map<std::string, Format> panel_formats(const Gguf& file) {
  constexpr const char *names_key = "revenant.panels.tensors",
                       *formats_key = "revenant.panels.formats";
  const std::vector<std::string> names = file.texts(names_key), formats = file.texts(formats_key);
  if (names.size() != formats.size())
    file.place(formats_key)
        .fail("one for each of " + std::to_string(names.size()) + " tensors",
              std::to_string(formats.size()));
  std::map<std::string, Format> all;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto format = format_named(formats[i]);
    if (!format || !is_quantised(*format))
      file.place(formats_key)[i].fail("a format of blocks", formats[i]);
    if (!all.emplace(names[i], *format).second)
      file.place(names_key)[i].fail("each tensor once", names[i] + " again");
  }
  return all;
}

}  // namespace

// What the entries point into.
struct ModelFiles::Parts {
  std::optional<Checkpoint> checkpoint;
  std::optional<GateFile> gate;
  std::optional<Gguf> gguf;
  std::array<float, 1> eta = {};
  std::vector<std::vector<std::byte>> rows;  // of other writers' files, put in order
};

void unpack_row(const StoredWeight& weight, int64_t row, std::span<float> out) {
  if (weight.in_panels)
    return unpack_panel_row(weight.format, weight.data.data(), out.size(), size_t(row), out.data());
  const size_t at = size_t(weight.rows(row)) * row_bytes(weight.format, out.size());
  unpack_row(weight.format, weight.data.data() + at, out);
}

std::vector<float> floats_of(const StoredWeight& weight, const TensorSpec& spec) {
  const size_t columns = spec.shape.size() == 1 ? 1 : size_t(spec.shape.back());
  const size_t rows = size_t(TensorSpec::count(spec.shape)) / columns;
  std::vector<float> floats(rows * columns);
  for (size_t r = 0; r < rows; ++r)
    unpack_row(weight, int64_t(r), std::span(floats).subspan(r * columns, columns));
  return floats;
}

ModelFiles ModelFiles::open(const Path& path, const std::vector<std::string>& settings,
                            OneForAll one_for_all) {
  ModelFiles files;
  files.parts_ = std::make_shared<Parts>();
  if (is_gguf(path))
    files.open_gguf(path, settings, one_for_all);
  else
    files.open_directory(path, settings, one_for_all);
  files.check();
  return files;
}

void ModelFiles::open_directory(const Path& path, const std::vector<std::string>& settings,
                                OneForAll one_for_all) {
  if (std::filesystem::is_regular_file(path))
    throw Error("model", path.string(), "a model directory or a GGUF file", "another file");
  if (std::filesystem::exists(path / adapter_weights_name))
    throw Error("model", path.string(), "a model (revenant merge makes one of an adapter)",
                "an adapter");
  const Checkpoint& checkpoint = parts_->checkpoint.emplace(Checkpoint::open(path));
  small_ = FileSet(path);
  configure(checkpoint.config(), settings);
  for (const auto& [name, view] : checkpoint.tensors()) add(name, view, checkpoint.file_of(name));
  const bool spreads = one_for_all == OneForAll::spread;
  const Config stored_as =
      spreads ? parse_config(checkpoint.config(), small_.place_of("config.json")) : config_;
  add_gate_file(stored_as);
  if (spreads) spread(stored_as);
}

void ModelFiles::open_gguf(const Path& path, const std::vector<std::string>& settings,
                           OneForAll one_for_all) {
  const Gguf& file = parts_->gguf.emplace(path);
  naming_ = Naming::canonical;
  layout_ = layout_of(file);
  small_ = files_in(file);
  const json stored = read_json(small_, "config.json");
  configure(stored, settings);
  add_tensors_of_gguf();
  if (one_for_all == OneForAll::spread)
    spread(parse_config(stored, small_.place_of("config.json")));
}

void ModelFiles::configure(const json& stored, const std::vector<std::string>& settings) {
  config_json_ = with_settings(stored, settings);
  config_ = parse_config(config_json_, small_.place_of("config.json"));
  warnings_ = config_.warnings;
}

void ModelFiles::add(const std::string& name, const TensorView& view, const Path& file) {
  entries_[name] = {
      {view.shape, to_string(view.dtype), view.data}, format_of(view.dtype), false, file.string()};
}

void ModelFiles::add_gate_file(const Config& stored_as) {
  const std::string stem = stored_gate(stored_as);
  if (stem.empty()) return;
  parts_->gate = gate_beside(*parts_->checkpoint, stem);
  if (!parts_->gate) return;
  for (const auto& [name, view] : parts_->gate->tensors(stem)) add(name, view, parts_->gate->file);
  if (!parts_->gate->warning.empty()) warnings_.push_back(parts_->gate->warning);
}

// A tensor in panels is as large as its weight says, or it has no place in the table.
void ModelFiles::add_tensors_of_gguf() {
  const Gguf& file = *parts_->gguf;
  const auto panels =
      layout_ == panels_layout ? panel_formats(file) : decltype(panel_formats(file))();
  for (const auto& [name, format] : panels)
    if (!file.tensors().contains(name)) file.place(name).fail("a tensor in panels", "none");
  std::map<std::string, TensorSpec> specs;
  for (const TensorSpec& spec : tensor_table(config_)) specs[spec.name] = spec;
  const auto tensors = is_plain(file) ? plain_tensors(file, config_) : file.tensors();
  for (const auto& [name, tensor] : tensors) {
    Entry entry{{tensor.shape, tensor.format ? info(*tensor.format).name : "I8", tensor.data},
                tensor.format,
                false,
                file.path().string()};
    const auto panel = panels.find(name);
    const auto spec = specs.find(name);
    if (panel != panels.end() && spec != specs.end()) {
      const std::vector<int64_t>& shape = spec->second.shape;
      const size_t rows = size_t(shape.front()), columns = size_t(shape.back());
      const bool whole = shape.size() == 2 && columns % info(panel->second).block == 0;
      const size_t bytes = whole ? panels_bytes(panel->second, rows, columns) : 0;
      if (tensor.format || tensor.data.size() != bytes)
        file.place(name).fail(
            std::to_string(bytes) + " bytes (I8) of panels of " + info(panel->second).name + " " +
                shape_text(shape),
            std::to_string(tensor.data.size()) + " bytes of " + entry.stored.type);
      entry.stored = {shape, info(panel->second).name, tensor.data};
      entry.format = panel->second;
      entry.in_panels = true;
    }
    if (spec != specs.end() && in_pairs(file, spec->second) && tensor.shape == spec->second.shape) {
      const bool q = name.ends_with(".attn_q.weight");
      entry.stored.data = parts_->rows.emplace_back(
          as_halves(tensor.data, q ? config_.heads : config_.kv_heads, config_.head_dim));
      entry.mapped = false;
    }
    entries_[name] = entry;
  }
  if (!file.find(per_channel_key)) return;
  const std::vector<std::string> names = file.texts(per_channel_key);
  for (size_t i = 0; i < names.size(); ++i) {
    const auto entry = entries_.find(names[i]);
    if (entry == entries_.end() || entry->second.format != Format::q8_0)
      file.place(per_channel_key)[i].fail("a tensor of Q8_0", names[i]);
    entry->second.per_channel = true;
  }
}

void ModelFiles::spread(const Config& stored_as) {
  const auto name_of = [&](const Config& config, const std::string& name) {
    return naming_ == Naming::canonical ? name : stored_name(config, name);
  };
  const auto each_layer = [&](const std::string& name, const Entry& entry) {
    for (int layer = 0; layer < config_.layers; ++layer)
      entries_[name_of(config_, "blk." + std::to_string(layer) + name)] = entry;
  };
  const bool one_gate = stored_as.trol.on && !stored_as.trol.gate_per_layer;
  if (one_gate && config_.trol.gate_per_layer) {
    const auto weight = entries_.extract(name_of(stored_as, "trol_gate.weight")),
               bias = entries_.extract(name_of(stored_as, "trol_gate.bias"));
    if (weight) each_layer(".trol_gate.weight", weight.mapped());
    if (bias) each_layer(".trol_gate.bias", bias.mapped());
    if (weight)
      warnings_.push_back(
          "the gate of every layer begins as the one that the checkpoint has for all");
  }
  if (config_.phantom.eta_learnable && !stored_as.phantom.eta_learnable) {
    parts_->eta = {float(config_.phantom.eta)};
    each_layer(
        ".phantom_eta",
        {{{1}, "F32", std::as_bytes(std::span(parts_->eta))}, Format::f32, false, path().string()});
    warnings_.push_back("the eta of every layer begins as the checkpoint's constant");
  }
}

void ModelFiles::check() {
  std::map<std::string, Stored> stored;
  for (const auto& [name, entry] : entries_) stored[name] = entry.stored;
  unused_ = check_stored(
      config_, stored,
      [&](const std::string& name) {
        const auto entry = entries_.find(name);
        return entry == entries_.end() ? path().string() : entry->second.file;
      },
      naming_);
}

StoredWeight ModelFiles::weight(const TensorSpec& spec) const {
  const TensorSpec place = placed(spec, naming_);
  const Entry& entry = entries_.at(place.stored);
  const bool fits = entry.format && !(is_vector(spec) && is_quantised(*entry.format));
  if (!fits)
    throw Error("weights", entry.file + ": " + place.stored, "F32, F16 or BF16", entry.stored.type);
  return {*entry.format,     entry.in_panels, place.rows,
          entry.stored.data, entry.mapped,    entry.per_channel};
}

std::vector<StoredTensor> ModelFiles::tensors() const {
  std::vector<StoredTensor> all;
  const std::string gate = parts_->gate ? parts_->gate->file.string() : "";
  for (const auto& [name, entry] : entries_)
    if (entry.file != gate)
      all.push_back({name, entry.stored.type, TensorSpec::count(entry.stored.shape),
                     entry.stored.data.size()});
  return all;
}

TensorView ModelFiles::unused(const std::string& name) const {
  CHECK(parts_->checkpoint);
  return parts_->checkpoint->tensor(name);
}

std::vector<Path> ModelFiles::weight_files() const {
  return parts_->gguf ? std::vector{path()} : parts_->checkpoint->files();
}

std::string ModelFiles::digest() const { return digest_of_weights(weight_files(), config_json()); }

FileSet small_files_of(const Path& model) {
  if (is_gguf(model)) return files_in(Gguf(model));
  return model;
}

}  // namespace revenant
