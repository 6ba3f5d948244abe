// The cache on disk: after a restart nothing is computed twice, and nothing shows in an answer.
#include <filesystem>

#include "base/disk_cache.h"
#include "harness.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

const std::string chat = "/v1/chat/completions";

// Phantom as it is shipped; and both mechanisms, with TroL's second pass over the prompt.
struct Kind {
  std::string name;
  Path directory;
  ModelOptions options = {};
};

const Temporary& random_place() {
  static const Temporary place;
  return place;
}

Kind kind(const std::string& name) {
  if (name == "nano") return {"nano", nano, {.threads = 2}};
  const bool quiet = name == "quiet";  // ghosts of keys are left out, those of values in 8 bits
  const Path path = random_place().path / name;
  if (!std::filesystem::exists(path)) {
    write_random_phantom(path, 3);
    json config = read_json(path / "config.json");
    config["llm_config"]["hidden_size"] = 64;  // heads of 32
    config["revenant"] = {{"phantom", true}, {"phantom_eta", quiet ? 1e-5 : 0.5}, {"trol", !quiet}};
    write_random_checkpoint(path, config, 5);
  }
  return {name, path, {.threads = 2, .cache_type = Format::f16}};
}

class OnDisk : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Harness> start(bool disk = true, size_t bytes = size_t(1) << 30,
                                 std::vector<std::string> settings = {}) {
    ApiOptions options;
    if (disk)
      options.schedule.disk = std::make_shared<DiskCache>(DiskCacheOptions{
          .directory = place(), .bytes = bytes, .tell = [this](const std::string& what) {
            told_.push_back(what);
          }});
    const Kind k = kind(GetParam());
    ModelOptions model = k.options;
    model.settings = std::move(settings);
    return std::make_unique<Harness>(options, k.directory, model);
  }
  Path place() const { return folder_.path / "cache"; }
  static std::vector<json> requests() {
    std::string text;
    for (int i = 0; i < 30; ++i) text += "red circle blue ";
    const std::string uri = data_uri(random_picture(64, 40, 1));
    std::vector<json> all = {question(text + "one"), question(text + "two"),
                             question(text + "one", uri),
                             question("what is in this picture?", uri)};
    for (json& body : all)
      body.update({{"max_tokens", 9}, {"logprobs", true}, {"top_logprobs", 3}});
    return all;
  }
  struct Answers {
    std::vector<std::string> choices;  // tokens and log-probabilities to the last digit
    int cached = 0;
    double encoded = 0;
    bool operator==(const Answers&) const = default;
  };
  static Answers ask(Harness& server, const std::string& sender = "") {
    Answers all;
    for (const json& body : requests()) {
      const json got = server.chat(body, sender);
      all.choices.push_back(got["choices"].dump());
      all.cached += got["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>();
    }
    all.encoded = server.api.metrics().counted("pictures_encoded_total");
    return all;
  }

  const Temporary folder_;
  std::vector<std::string> told_;
};

TEST_P(OnDisk, ColdWarmAndRestoredAreTheSameBits) {
  const Answers none = ask(*start(false));
  const auto first = start();
  const Answers cold = ask(*first), warm = ask(*first);
  first->api.options().schedule.disk->flush();
  const auto second = start();
  const Answers restored = ask(*second);
  EXPECT_EQ(cold.choices, none.choices);
  EXPECT_EQ(warm.choices, none.choices);
  EXPECT_EQ(restored.choices, none.choices);
  EXPECT_EQ(cold.cached, none.cached);
  EXPECT_EQ(restored.cached, warm.cached);
  EXPECT_GT(restored.cached, cold.cached + 64);
  EXPECT_EQ(cold.encoded, 1);
  EXPECT_EQ(restored.encoded, 0);
  EXPECT_TRUE(told_.empty());
}

TEST_P(OnDisk, DamagedFilesArePassedOver) {
  const Answers cold = ask(*start());
  Random random(1);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(place())) {
    std::string text = read_file(entry.path());
    text[random.below(text.size())] ^= char(1 << random.below(8));
    write_file(entry.path(), text);
    ++files;
  }
  EXPECT_GE(files, 3u);  // a page of each beginning, and a picture
  const Answers again = ask(*start());
  EXPECT_EQ(again, cold);
  EXPECT_FALSE(told_.empty());
  for (const std::string& what : told_) EXPECT_NE(what.find("damaged"), what.npos) << what;
  EXPECT_GT(ask(*start()).cached, cold.cached + 64);  // written anew
}

// Rows of another model, or for another key, are not found.
TEST_P(OnDisk, IsOfOneModelAndOneKey) {
  const Answers mine = ask(*start(), "a");
  const auto theirs = start();
  EXPECT_EQ(ask(*theirs, "b"), mine);
  EXPECT_GT(ask(*start(), "a").cached, mine.cached + 64);
  const std::vector<std::string> other = {"revenant.phantom_eta=0.25"};
  const Answers bare = ask(*start(false, 0, other), "a"),
                kept = ask(*start(true, 1 << 30, other), "a");
  EXPECT_EQ(kept, bare);
  EXPECT_NE(kept.choices, mine.choices);
}

TEST_P(OnDisk, StaysWithinItsBudget) {
  const Answers cold = ask(*start());
  size_t largest = 0;
  for (const auto& entry : std::filesystem::directory_iterator(place()))
    largest = std::max(largest, size_t(entry.file_size()));
  const size_t budget = 3 * largest;
  for (int run = 0; run < 2; ++run) EXPECT_EQ(ask(*start(true, budget)).choices, cold.choices);
  size_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(place())) bytes += entry.file_size();
  EXPECT_LE(bytes, budget);
  EXPECT_GT(bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Models, OnDisk, testing::Values("nano", "both", "quiet"));

}  // namespace
}  // namespace revenant
