// What meets a model's matrices while it reads rows with pictures and gives their answers.
#pragma once

#include <functional>
#include <span>

#include "data/dataset.h"
#include "engine/model.h"
#include "store/importance.h"

namespace revenant {

struct ImportanceOptions {
  ReadOptions reading = {};
  std::function<void(size_t done, size_t total)> progress = {};  // rows
  GoOn go_on = {};
};

// Of tower, projector and language model; the model's weights must lie as they are stored (16 or 32
// bits). Throws Error where a row cannot be asked.
Importance measure_importance(const Model& model, std::span<const Row> rows,
                              const ImportanceOptions& options = {});

}  // namespace revenant
