// JSON schemas as grammars of the texts that keep them.
#pragma once

#include <nlohmann/json.hpp>

#include "serve/grammar.h"

namespace revenant {

struct SchemaLimits {
  size_t elements = 50'000;  // of the grammar
  int levels = 64;           // of the schema
  int length = 2'000;        // of counted strings and arrays
};

struct JsonGrammar {
  Grammar grammar;
  uint32_t start;
};

// Any JSON object.
JsonGrammar object_grammar();
// What it makes: no white space but one space at most after a colon and a comma; members in the
// order of the schema, those that are not required or not; no members that it does not name, unless
// it names none. Numbers of up to 15 digits, and as many after the point. Throws Failure, 400, that
// names the part, for what it cannot promise to keep: `path` is where the schema stands in the
// request.
JsonGrammar schema_grammar(const nlohmann::json& schema, const std::string& path,
                           const SchemaLimits& limits = {});

}  // namespace revenant
