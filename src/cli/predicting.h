// What the commands share that have a model answer rows: a bar, signals, answers that are kept.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "cli/options.h"
#include "eval/predict.h"

namespace revenant {

// --data, --fields and --limit, of commands that read rows.
void add_rows_options(CLI::App& command, std::vector<Path>& data, RowOptions& rows);

// -n, --batch and --answers, of commands that have rows answered.
void add_predict_options(CLI::App& command, PredictOptions& options, Path& answers);

// Throws Error where there is none.
std::vector<Row> rows_of(const char* command, const std::vector<Path>& files,
                         const RowOptions& options);

// What answers depend on, but for which rows of the files are asked.
nlohmann::json run_of(const ModelArgs& args, const std::vector<Path>& data, const Model& model,
                      const PredictOptions& options);

// Kept in the file `answers` of the run `run`, unless it is empty. A signal ends the program.
std::vector<Prediction> predict_with_progress(const char* command, const Model& model,
                                              std::span<const Row> rows, PredictOptions options,
                                              const Path& answers, const nlohmann::json& run);

}  // namespace revenant
