// What fewer bits cost, and what matters of a matrix, by their definitions.
#include "eval/quality.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "engine/quantize.h"
#include "engine/session.h"
#include "eval/importance.h"
#include "eval/predict.h"
#include "io/gguf.h"
#include "support/random_checkpoint.h"
#include "support/temporary.h"

namespace revenant {
namespace {

class QualityTest : public testing::Test {
 protected:
  void SetUp() override {
    write_random_phantom(directory_, 3);
    for (int i = 0; i < 6; ++i) {
      Image image = blank_image(56, 56, uint8_t(40 * i));
      for (size_t p = 0; p < image.rgb.size(); p += 7) image.rgb[p] = uint8_t(p * size_t(i + 3));
      const Path file = place_.path / (std::to_string(i / 2) + ".png");
      if (i % 2 == 0) write_file(file, encode_png(image));
      Row row;
      row.question = "<image>\nWhat is in picture " + std::to_string(i) + "?";
      row.answer = i % 2 ? "a red house" : "no";
      row.images = {{file}};
      rows_.push_back(row);
    }
  }
  Model model(std::optional<QuantizeType> weights = {}) const {
    return Model(directory_, {.threads = 2, .weights = weights});
  }
  Pictures shown(const Model& m, const Row& row) const {
    const Image image = read_picture(row.images[0]);
    return m.encode({&image, 1});
  }

  const Temporary place_;
  const Path directory_ = place_.path / "m";
  std::vector<Row> rows_;
};

std::vector<double> probabilities(const Tensor& logits) {
  std::vector<double> p;
  double sum = 0;
  for (int i = 0; i < logits.width; ++i) sum += p.emplace_back(std::exp(double(logits.data()[i])));
  for (double& value : p) value /= sum;
  return p;
}

TEST_F(QualityTest, AModelIsLikeItself) {
  const Model a = model(), b = model();
  const Quality q = measure_quality(a, b, rows_);
  EXPECT_EQ(q.rows, 6);
  EXPECT_GE(q.tokens, 6);
  EXPECT_EQ(q.same_top, q.tokens);
  EXPECT_EQ(q.divergence, 0);
  EXPECT_EQ(q.divergence_99, 0);
}

TEST_F(QualityTest, IsTheDivergenceOfEachTokenOfTheReferencesAnswers) {
  const Model reference = model(), few = model(quantize_type("Q4_0"));
  QualityOptions options{.max_new_tokens = 5};
  size_t told = 0;
  options.progress = [&](size_t done, size_t) { told = done; };
  const Quality q = measure_quality(reference, few, rows_, options);
  EXPECT_EQ(told, 6u);
  std::vector<double> all;
  int64_t same = 0;
  for (const Row& row : rows_) {
    const RowPrompt a = prompt_of(reference, row, shown(reference, row)),
                    b = prompt_of(few, row, shown(few, row));
    std::vector<int> ids = a.ids;
    for (int token = 0; token < 5; ++token) {
      // Prompt and what was said are fed anew each time.
      Session one(reference), other(few);
      Tensor p = one.feed(std::span(ids).first(a.ids.size()), a.features),
             r = other.feed(std::span(ids).first(a.ids.size()), b.features);
      for (size_t i = a.ids.size(); i < ids.size(); ++i)
        p = one.step(ids[i]), r = other.step(ids[i]);
      const auto x = probabilities(p), y = probabilities(r);
      double sum = 0;
      for (size_t i = 0; i < x.size(); ++i) sum += x[i] * std::log(x[i] / y[i]);
      all.push_back(sum);
      const int said = int(std::max_element(x.begin(), x.end()) - x.begin());
      same += said == int(std::max_element(y.begin(), y.end()) - y.begin());
      const auto& stops = reference.speech().stop_ids;
      if (std::find(stops.begin(), stops.end(), said) != stops.end()) break;
      ids.push_back(said);
    }
  }
  double mean = 0;
  for (const double d : all) mean += d / double(all.size());
  EXPECT_EQ(q.tokens, int64_t(all.size()));
  EXPECT_EQ(q.same_top, same);
  EXPECT_NEAR(q.divergence, mean, 1e-6 + 1e-3 * mean);
  EXPECT_GT(q.divergence, 1e-7);
  EXPECT_GE(q.divergence_99, q.divergence);
  const Quality more = measure_quality(reference, model(quantize_type("Q8_0")), rows_, options);
  EXPECT_LT(more.divergence, q.divergence);
}

TEST_F(QualityTest, ImportanceIsTheMeanSquareOfWhatMeetsAMatrix) {
  const Model m = model();
  const Importance found = measure_importance(m, rows_);
  // The output matrix meets the final norm's last prompt row and the answer's rows.
  std::vector<double> squares(size_t(m.config().hidden));
  int64_t count = 0;
  for (const Row& row : rows_) {
    const RowPrompt prompt = prompt_of(m, row, shown(m, row));
    Sequence sequence(m.config(), m.pages());
    Sequence* const sequences[] = {&sequence};
    const Native native = m.native();
    std::vector<uint8_t> shows;
    for (const int id : prompt.ids) shows.push_back(id == m.image_token());
    Step step, after;
    const int length = int(prompt.ids.size());
    step.add(0, 0, length, length, true, shows);
    const Tensor x =
        last_rows(native, forward(native, step, sequences, prompt.ids, &prompt.features), step);
    const auto told = m.speech().tokenizer.encode(row.answer, Specials::as_text);
    const std::vector<int> answer(told.begin(), told.end());
    after.add(0, length, int(answer.size()), length + int(answer.size()), false);
    const Tensor y = forward(native, after, sequences, answer);
    for (const Tensor* t : {&x, &y}) {
      for (int r = 0; r < t->rows; ++r)
        for (int i = 0; i < t->width; ++i)
          squares[size_t(i)] += double(t->row(r)[i]) * double(t->row(r)[i]);
      count += t->rows;
    }
  }
  const std::string output =
      found.contains("output.weight") ? "output.weight" : "token_embd.weight";
  ASSERT_TRUE(found.contains(output));
  EXPECT_EQ(found.at(output).rows, count);
  for (size_t i = 0; i < squares.size(); ++i)
    EXPECT_NEAR(found.at(output).sums[i], squares[i], 1e-5 * squares[i] + 1e-9);
  // Tower, projector and all of a layer.
  for (const char* name :
       {"v.blk.0.attn_q.weight", "v.blk.0.ffn_down.weight", "mm.0.weight", "blk.1.attn_v.weight",
        "blk.1.attn_output.weight", "blk.1.ffn_gate.weight", "blk.1.ffn_down.weight"})
    EXPECT_TRUE(found.contains(name)) << name;
  EXPECT_EQ(found.at("blk.0.attn_q.weight").sums, found.at("blk.0.attn_k.weight").sums);
  EXPECT_NE(found.at("blk.0.attn_q.weight").sums, found.at("blk.0.ffn_up.weight").sums);

  const Path file = place_.path / "m.imatrix";
  write_importance(file, found, "rows");
  const Importance again = read_importance(file);
  ASSERT_EQ(again.size(), found.size());
  for (const auto& [name, squares_of] : found) {
    EXPECT_EQ(again.at(name).rows, squares_of.rows) << name;
    EXPECT_EQ(again.at(name).sums.size(), squares_of.sums.size()) << name;
    EXPECT_NEAR(again.at(name).sums[0], squares_of.sums[0], 1e-6 * squares_of.sums[0]) << name;
  }
}

// Errors where it matters become smaller, those elsewhere may grow.
TEST_F(QualityTest, AnImportanceMatrixWeighsTheErrors) {
  nlohmann::json config = read_json(directory_ / "config.json");
  config["llm_config"].update({{"hidden_size", 64}, {"intermediate_size", 64}});
  write_random_checkpoint(directory_, config, 4);
  Importance importance;
  std::vector<double> squares(64, 1e-3);
  for (size_t i = 0; i < 64; i += 8) squares[i] = 1;
  importance["blk.0.ffn_up.weight"] = {squares, 1};
  const Path file = place_.path / "m.imatrix", plain = place_.path / "plain.gguf",
             weighed = place_.path / "weighed.gguf";
  write_importance(file, importance, "made up");
  const QuantizeType& type = quantize_type("Q4_0");
  quantize(directory_, plain, type, {.portable = true, .threads = 1});
  quantize(directory_, weighed, type, {.portable = true, .threads = 1, .importance = file});
  const Gguf a(plain), b(weighed);
  const ModelFiles whole = ModelFiles::open(directory_);
  for (const TensorSpec& spec : tensor_table(whole.config())) {
    const auto &x = a.tensors().at(spec.name), &y = b.tensors().at(spec.name);
    const bool same = std::ranges::equal(x.data, y.data);
    EXPECT_EQ(same, spec.name != "blk.0.ffn_up.weight") << spec.name;
    if (same) continue;
    const std::vector<float> exact = floats_of(whole.weight(spec), spec);
    const auto error = [&](const GgufTensor& tensor) {
      double sum = 0;
      std::vector<float> row(64);
      for (size_t r = 0; r < exact.size() / 64; ++r) {
        unpack_row(Format::q4_0, tensor.data.data() + r * row_bytes(Format::q4_0, 64), row);
        for (size_t i = 0; i < 64; ++i)
          sum += squares[i] * std::pow(double(row[i] - exact[r * 64 + i]), 2);
      }
      return sum;
    };
    EXPECT_LT(error(y), 0.8 * error(x));
  }
  // Only what matches is quantised at all.
  quantize(directory_, plain, type,
           {.portable = true, .threads = 1, .match = {"blk.*.ffn_down.weight"}});
  const Gguf few(plain);
  for (const auto& [name, tensor] : few.tensors())
    EXPECT_EQ(*tensor.format == Format::q4_0,
              name.starts_with("blk.") && name.ends_with("ffn_down.weight"))
        << name;
}

TEST_F(QualityTest, ImportanceThatDoesNotFitIsNamed) {
  const Path file = place_.path / "m.imatrix", out = place_.path / "m.gguf";
  const auto refusal = [&](const Importance& importance) -> std::string {
    write_importance(file, importance, "made up");
    try {
      quantize(directory_, out, quantize_type("Q4_0"), {.threads = 1, .importance = file});
    } catch (const Error& error) {
      return error.what();
    }
    return "none";
  };
  EXPECT_NE(refusal({{"blk.9.ffn_up.weight", {{1, 2}, 1}}})
                .find("blk.9.ffn_up.weight: expected a weight of this model"),
            std::string::npos);
  EXPECT_NE(refusal({{"blk.0.attn_q.weight", {{1, 2}, 1}}}).find("inputs, found 2"),
            std::string::npos);
  EXPECT_NE(refusal({}).find("in_sum2"), std::string::npos);
  EXPECT_THROW(quantize(directory_, out, quantize_type("Q4_0"),
                        {.threads = 1, .match = {"blk.*.no_such.weight"}}),
               Error);
  EXPECT_THROW(measure_importance(model(quantize_type("Q8_0")), rows_), Error);
}

}  // namespace
}  // namespace revenant
