// What a checkpoint may hold beside, and instead of, the table's tensors.
#include "model/check.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "model/released.h"
#include "model/weights.h"

namespace revenant {
namespace {

Config tiny(bool tied) {
  nlohmann::json json = released("phantom-0.5b").config;
  json["llm_config"].update({{"num_hidden_layers", 1}, {"vocab_size", 5}});
  json["llm_config"]["tie_word_embeddings"] = tied;
  json["vision_config"]["num_hidden_layers"] = 1;
  return parse_config(json, "x");
}

const std::string embedding = "language_model.model.embed_tokens.weight",
                  head = "language_model.lm_head.weight";

std::map<std::string, Stored> stored_of(const Config& config) {
  std::map<std::string, Stored> all;
  for (const TensorSpec& spec : tensor_table(config))
    all[spec.stored] = {spec.stored_shape, "F32", {}};
  return all;
}

std::string complaint(const Config& config, const std::map<std::string, Stored>& tensors) {
  try {
    const auto unused = check_stored(config, tensors, [](const std::string&) { return "f"; });
    return std::to_string(unused.size()) + " unused";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(Check, ATiedModelMayHoldItsOutputMatrixAsACopy) {
  const Config config = tiny(true);
  const std::vector<std::byte> data(8, std::byte(1)), other(8, std::byte(2));
  auto all = stored_of(config);
  EXPECT_EQ(complaint(config, all), "0 unused");
  all[embedding].data = all[head].data = data;
  all[head].shape = all[embedding].shape;
  all[head].type = "F32";
  EXPECT_EQ(complaint(config, all), "0 unused");
  const std::string differs = "[checkpoint] f: " + head + ": expected a copy of " + embedding +
                              " (tie_word_embeddings is true), found other values";
  all[head].data = other;
  EXPECT_EQ(complaint(config, all), differs);
  all[head] = {all[embedding].shape, "BF16", data};
  EXPECT_EQ(complaint(config, all), differs);
  all[head] = {{1, 2}, "F32", data};
  EXPECT_EQ(complaint(config, all), differs);
  // Other writers keep the head and drop the embedding.
  all.erase(embedding);
  EXPECT_NE(complaint(config, all).find(embedding + ": expected [5, 896], found nothing"),
            std::string::npos);
  EXPECT_EQ(complaint(tiny(false), stored_of(config)),
            "[checkpoint] f: " + head + ": expected [5, 896], found nothing");
}

TEST(Check, PrefixesOfOtherToolsAreNamed) {
  const Config config = tiny(false);
  const auto renamed = [&](const std::string& before, const std::string& after) {
    std::map<std::string, Stored> all;
    for (const auto& [name, stored] : stored_of(config))
      all[name.starts_with(before) ? after + name.substr(before.size()) : name] = stored;
    return complaint(config, all);
  };
  const std::string patch = "vision_model.embeddings.patch_embedding.weight";
  for (const std::string prefix : {"module.", "model.", "base_model.model."})
    EXPECT_NE(renamed("", prefix).find("found nothing of this name, but " + prefix + patch),
              std::string::npos)
        << renamed("", prefix);
  EXPECT_NE(renamed("language_model.model.", "model.language_model.")
                .find(embedding + ": expected [5, 896], found nothing of this name, but "
                                  "model.language_model.embed_tokens.weight"),
            std::string::npos)
      << renamed("language_model.model.", "model.language_model.");
}

}  // namespace
}  // namespace revenant
