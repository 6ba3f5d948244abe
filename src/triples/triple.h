// A row with its wrong answer, as `data check` and recipes read it back (docs/data.md).
#pragma once

#include <nlohmann/json.hpp>

#include "data/dataset.h"

namespace revenant {

// {id, image(s), question, answer, rejected}, or `conversations` in place of question and answer
// where there are several turns. `folder` is where the file of triples stands: pictures' names are
// relative to it; those inside the file of rows become data URIs.
nlohmann::json triple_of(const Row& row, const std::string& rejected, const Path& folder);

}  // namespace revenant
