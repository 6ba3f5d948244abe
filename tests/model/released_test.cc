#include "model/released.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"
#include "model/weights.h"

namespace revenant {
namespace {

// papers.md, 3.4: parameters of the weight files, CLIP's unused last norm among them; TroL's gate
// lies in a file of its own.
struct Known {
  const char* name;
  int64_t parameters, gate, unused;
};
constexpr Known known[] = {
    {"phantom-0.5b", 939'341'744, 0, 0},      {"phantom-1.8b", 2'210'479'152, 0, 0},
    {"phantom-3.8b", 4'150'401'088, 0, 0},    {"phantom-7b", 8'081'665'088, 0, 0},
    {"trol-1.8b", 2'451'237'888, 2049, 2048}, {"trol-3.8b", 4'146'855'936, 3073, 0},
    {"trol-7b", 8'666'844'160, 4097, 2048},
};

TEST(Released, ParametersAsPublished) {
  ASSERT_EQ(released_names().size(), std::size(known));
  for (const Known& model : known) {
    const Config config = parse_config(released(model.name).config, model.name);
    const std::vector<int64_t> counts = parameter_counts(config);
    const int64_t total = std::accumulate(counts.begin(), counts.end(), int64_t(0));
    EXPECT_EQ(total, model.parameters + model.gate - model.unused) << model.name;
    if (model.gate) {
      EXPECT_EQ(counts[size_t(Part::mechanism)], model.gate) << model.name;
    }
  }
}

TEST(Released, FamiliesAndGeometry) {
  const auto config = [](const char* name) { return parse_config(released(name).config, name); };
  EXPECT_EQ(prompt_family(config("phantom-0.5b")), PromptFamily::phantom_qwen2);
  EXPECT_EQ(prompt_family(config("phantom-7b")), PromptFamily::phantom_internlm2);
  EXPECT_EQ(prompt_family(config("phantom-3.8b")), PromptFamily::phantom_phi3);
  EXPECT_EQ(prompt_family(config("trol-1.8b")), PromptFamily::trol_internlm2);
  EXPECT_EQ(prompt_family(config("trol-3.8b")), PromptFamily::trol_phi3);
  EXPECT_EQ(config("trol-7b").tokens_per_tile(), 1225);
  EXPECT_EQ(config("phantom-3.8b").tokens_per_tile(), 256);
  EXPECT_EQ(config("phantom-3.8b").head_dim, 96);
}

TEST(Released, UnknownNameListsTheSeven) {
  try {
    released("phantom-70b");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("trol-3.8b"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace revenant
