// Which weights train, and with which settings, by patterns over the tensor table.
//
// A pattern is a part of the model (`projector`, `mechanism`, `language`, `vision`, `image_lora`),
// `all` but image_lora, or a canonical name in which * stands for any characters
// (`blk.*.attn_q.weight`). TroL's image-only low-rank branches are meant only by patterns that name
// them (`image_lora`, or a name with "lora" in it).
#pragma once

#include <set>
#include <string>
#include <vector>

#include "train/model.h"
#include "train/recipe.h"

namespace revenant {

// Names of the weights that the patterns select together; throws Error, naming `key`, where a
// pattern selects none.
std::set<std::string> selected(const TensorSpecs& specs, const std::vector<std::string>& patterns,
                               const std::string& key);

// The matrices that the recipe's `quantize` means, less those that train whole or are fused with
// one. Throws Error where none is left.
BaseOf base_of(const Recipe& recipe);

// Lets train what the recipe names and freezes the rest: no gradient, no moments. Under bf16 frozen
// matrices whose values bf16 holds are kept so: the products that take them round them anyway.
void set_trainable(TorchModel& model, const Recipe& recipe);

// Whether the tower, without its projector, gives the same in every step.
bool tower_is_frozen(const TorchModel& model);

// Those that train, by name.
NamedTensors trained(const TorchModel& model);

// What the optimiser does to one weight.
struct ParameterSettings {
  double rate = 1;  // times the run's learning rate
  double weight_decay = 0, adam_epsilon = 1e-8;
  auto operator<=>(const ParameterSettings&) const = default;
};
// Of every weight that trains: the recipe's, or those of the first parameter group that selects it.
// Without a group's word, decay is for what multiplies (embedding, matrices, mixers, gates), not
// for biases, norms, scales and positions.
std::map<std::string, ParameterSettings> settings_of(const TorchModel& model, const Recipe& recipe);
// The largest of each part.
std::map<Part, double> adam_epsilons(const TorchModel& model, const Recipe& recipe);

// "trains 1.2 M of 3.4 M parameters: projector 0.3 M, ...; frozen: vision tower, ...".
std::string trainable_report(const TorchModel& model);

}  // namespace revenant
