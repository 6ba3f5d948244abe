// GGUF files of other writers, as llama.cpp's converter makes them.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/session.h"
#include "support/plain_model.h"
#include "support/temporary.h"

namespace revenant {
namespace {

// A directory, and the file that a converter makes of it.
class PlainGguf : public testing::TestWithParam<std::pair<const char*, bool>> {
 protected:
  void write(Format format) const {
    const Plain plain = plain_of(directory_, format);
    write_gguf(file_, plain.keys, plain.tensors);
  }
  const Temporary place_;
  const bool tied_ = GetParam().second;
  const Path directory_ = write_plain_model(place_.path / "m", GetParam().first, tied_),
             file_ = place_.path / "m.gguf";
};

TEST_P(PlainGguf, IsTheModelOfItsDirectory) {
  write(Format::f32);
  const Network found = Network::open(file_), expected = Network::open(directory_);
  EXPECT_TRUE(found.warnings.empty());
  EXPECT_EQ(found.config.tied_output, tied_);
  EXPECT_EQ(found.config.eos_tokens, expected.config.eos_tokens);
  EXPECT_EQ(found.config.vision.kind, Tower::none);
  EXPECT_EQ(logits_of(found), logits_of(expected));
  const Model model(file_, {.threads = 2});
  Session session(model);
  EXPECT_EQ(session.feed(std::vector<int>{5, 250, 17}).width, 300);
  const Image picture = blank_image(56, 56);
  EXPECT_THROW(model.encode({&picture, 1}), Error);
  const Tokenizer ours = Tokenizer::open(found.files.small()),
                  theirs = Tokenizer::open(expected.files.small());
  for (const char* text :
       {"what is that", "a house, 123 pictures\n  in  it", "\u00e9\u4e16", "<|im_start|>what"}) {
    EXPECT_EQ(ours.encode(text, Specials::as_text), theirs.encode(text, Specials::as_text));
    EXPECT_EQ(ours.encode(text, Specials::as_tokens), theirs.encode(text, Specials::as_tokens));
  }
  EXPECT_EQ(ours.decode(std::vector<int32_t>{ours.id_of("<|im_start|>"), 70}, false),
            theirs.decode(std::vector<int32_t>{70}, false));
  EXPECT_EQ(ours.eos(), theirs.id_of("<|im_end|>"));
  // Phi-3's swallow the spaces behind them.
  const auto with_spaces = [](const Tokenizer& t) {
    return t.encode("<|im_start|>  what", Specials::as_tokens);
  };
  if (found.config.backbone == Backbone::phi3)
    EXPECT_EQ(with_spaces(ours), theirs.encode("<|im_start|>what", Specials::as_tokens));
  else
    EXPECT_EQ(with_spaces(ours), with_spaces(theirs));
}

// Rows of blocks are turned as a whole.
TEST_P(PlainGguf, InBlocksItsRowsLieAsTheDirectorys) {
  write(Format::q8_0);
  const Network found = Network::open(file_),
                expected = Network::open(directory_, {}, quantize_type("Q8_0"));
  EXPECT_EQ(logits_of(found), logits_of(expected));
}

INSTANTIATE_TEST_SUITE_P(, PlainGguf,
                         testing::Values(std::pair("llama", false), std::pair("llama", true),
                                         std::pair("qwen2", false), std::pair("qwen2", true),
                                         std::pair("internlm2", false), std::pair("phi3", false),
                                         std::pair("phi3", true)),
                         [](const auto& one) {
                           return std::string(one.param.first) + (one.param.second ? "_tied" : "");
                         });

// What a file is refused with, behind its name, or "none".
std::string complaint_of(const Path& file, const Plain& plain) {
  write_gguf(file, plain.keys, plain.tensors);
  try {
    Tokenizer::open(Network::open(file).files.small());
  } catch (const Error& error) {
    const std::string text = error.what();
    const size_t at = text.find(file.string());
    return at == text.npos ? text : text.substr(at + file.string().size() + 2);
  }
  return "none";
}

// Phi-3 of 128k positions: two lists of factors lie among the tensors.
TEST(PlainGgufFile, HasTheFactorsOfLongRope) {
  const Temporary place;
  const Path directory = write_plain_model(place.path / "m", "phi3", false);
  std::vector<float> near(8), far(8);
  for (size_t i = 0; i < 8; ++i) near[i] = 1 + 0.125f * float(i), far[i] = 1.5f + float(i);
  nlohmann::json config = read_json(directory / "config.json");
  config["rope_scaling"] = {{"type", "longrope"}, {"short_factor", near}, {"long_factor", far}};
  config["original_max_position_embeddings"] = 128;
  write_file(directory / "config.json", config.dump());
  Plain plain = plain_of(directory, Format::f32);
  for (const auto& [name, values] :
       {std::pair("rope_factors_long.weight", far), std::pair("rope_factors_short.weight", near)})
    plain.tensors.push_back({name, Format::f32, {8}, [values](const Sink& sink) {
                               sink(std::as_bytes(std::span(values)));
                             }});
  plain.set("phi3.rope.scaling.original_context_length", uint32_t(128));
  plain.set("phi3.rope.scaling.attn_factor", float(std::sqrt(1 + std::log(4.) / std::log(128.))));
  plain.set("phi3.attention.sliding_window", uint32_t(512));
  const Path file = place.path / "m.gguf";
  write_gguf(file, plain.keys, plain.tensors);
  const Network found = Network::open(file), expected = Network::open(directory);
  EXPECT_EQ(found.config.rope.long_factors, expected.config.rope.long_factors);
  const std::vector<float> ours = logits_of(found), theirs = logits_of(expected);
  for (size_t i = 0; i < theirs.size(); ++i) ASSERT_NEAR(ours[i], theirs[i], 1e-5);
  const auto refusal = [&](const Plain& changed) { return complaint_of(file, changed); };
  EXPECT_EQ(refusal(plain), "none");
  Plain other = plain;
  other.tensors.back().shape = {4};
  other.tensors.back().produce = [](const Sink& sink) {
    const float four[4] = {1, 1, 1, 1};
    sink(std::as_bytes(std::span(four)));
  };
  EXPECT_EQ(refusal(other), "rope_factors_short.weight: expected F32 [8], found F32 [4]");
  other = plain;
  other.tensors.push_back(other.tensors.front());
  other.tensors.back().name = "blk.0.attn_q.weight";
  EXPECT_EQ(refusal(other), "blk.0.attn_q.weight: expected only blk.0.attn_qkv.weight, found both");
  other = plain;
  for (GgufSource& tensor : other.tensors)
    if (tensor.name == "blk.0.ffn_up.weight") tensor.name = "blk.0.attn_gate.weight";
  other.tensors.front().name = "blk.0.ffn_up.weight";
  EXPECT_NE(refusal(other).find("blk.0.ffn_up.weight: expected [192, 64], found"),
            std::string::npos);
  other = plain;
  other.set("phi3.rope.scaling.attn_factor", 0.0f);
  EXPECT_EQ(refusal(other),
            "phi3.rope.scaling.attn_factor: expected a number above 0, found 0.000000");
  // A window shorter than the model's positions is not computed.
  plain.set("phi3.attention.sliding_window", uint32_t(511));
  EXPECT_NE(refusal(plain).find("sliding_window"), std::string::npos);
}

class SentencePieceGguf : public testing::TestWithParam<const char*> {};

TEST_P(SentencePieceGguf, IsReadAsItsTokenizer) {
  const Temporary place;
  const Path directory = write_plain_model(place.path / "m", GetParam(), false);
  Plain plain = plain_of(directory, Format::f32);
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    tokens.push_back(name);
    types.push_back(6);
  }
  for (const char* piece : {"\u2581", "a", "b", "c", "ab", "\u2581ab", "<mark>"}) {
    tokens.push_back(piece);
    types.push_back(std::string(piece) == "<mark>" ? 4 : 1);
  }
  while (tokens.size() < 300) {  // as the converter fills up; no text becomes one
    tokens.push_back("[PAD" + std::to_string(tokens.size()) + "]");
    types.push_back(5);
  }
  std::vector<float> scores;
  for (size_t i = 0; i < tokens.size(); ++i) scores.push_back(-float(i));
  plain.set("tokenizer.ggml.model", std::string("llama"));
  plain.set("tokenizer.ggml.pre", std::string("default"));
  plain.set("tokenizer.ggml.tokens", gguf_array(tokens));
  plain.set("tokenizer.ggml.token_type", gguf_array(types));
  plain.set("tokenizer.ggml.scores", gguf_array(scores));
  plain.set("tokenizer.ggml.bos_token_id", uint32_t(1));
  plain.set("tokenizer.ggml.eos_token_id", uint32_t(2));
  write_gguf(place.path / "m.gguf", plain.keys, plain.tensors);
  const auto encoded = [&] {
    const Tokenizer t = Tokenizer::open(small_files_of(place.path / "m.gguf"));
    return t.encode("abc<mark>\u00e9", Specials::as_tokens);
  };
  // A space goes before a text and again after a token of its own, as llama.cpp has it.
  EXPECT_EQ(encoded(), (std::vector<int32_t>{264, 262, 265, 259, 3 + 0xC3, 3 + 0xA9}));
  const Tokenizer t = Tokenizer::open(small_files_of(place.path / "m.gguf"));
  EXPECT_EQ(t.bos(), 1);
  EXPECT_EQ(t.with_frame({7}), (std::vector<int32_t>{1, 7}));
  plain.set("tokenizer.ggml.add_space_prefix", false);
  write_gguf(place.path / "m.gguf", plain.keys, plain.tensors);
  EXPECT_EQ(encoded(), (std::vector<int32_t>{263, 262, 265, 3 + 0xC3, 3 + 0xA9}));
  // Spaces behind Phi-3's own tokens are theirs, but for three.
  const Tokenizer without = Tokenizer::open(small_files_of(place.path / "m.gguf"));
  const auto count = [&](const char* text) {
    return without.encode(text, Specials::as_tokens).size();
  };
  const bool swallows = std::string(GetParam()) == "phi3";
  EXPECT_EQ(count("<mark>  c"), swallows ? 2u : 4u);
  EXPECT_EQ(count("<s>  c"), 4u);
  EXPECT_EQ(without.encode("[PAD270]", Specials::as_tokens).size(), 8u);
}

INSTANTIATE_TEST_SUITE_P(, SentencePieceGguf, testing::Values("llama", "internlm2", "phi3"),
                         [](const auto& one) { return std::string(one.param); });

TEST(PlainGgufFile, WhatIsNotComputedIsRefused) {
  const Temporary place;
  const Path directory = write_plain_model(place.path / "m", "llama", false);
  const Plain good = plain_of(directory, Format::f32);
  const auto complaint = [&](const auto& change) {
    Plain plain = good;
    change(plain);
    return complaint_of(place.path / "m.gguf", plain);
  };
  EXPECT_EQ(complaint([](Plain&) {}), "none");
  const auto with = [&](const char* key, GgufValue value) {
    return complaint([&](Plain& p) { p.set(key, value); });
  };
  EXPECT_EQ(with("llama.rope.scaling.type", std::string("yarn")),
            "llama.rope.scaling.type: expected none, found yarn");
  EXPECT_EQ(with("llama.rope.scaling.factor", 2.0f),  // without a type it is a linear one
            "llama.rope.scaling.factor: expected 1, found 2.000000");
  EXPECT_EQ(with("llama.rope.scaling.factor", 1.0f), "none");
  EXPECT_EQ(with("llama.rope.dimension_count", uint32_t(8)),
            "llama.rope.dimension_count: expected 16, found 8");
  EXPECT_EQ(with("llama.expert_count", uint32_t(8)), "llama.expert_count: expected 0, found 8");
  EXPECT_EQ(with("llama.attention.head_count", uint32_t(0)),
            "llama.attention.head_count: expected at least 1, found 0");
  EXPECT_EQ(with("tokenizer.ggml.model", std::string("bert")),
            "tokenizer.ggml.model: expected gpt2 or llama, found bert");
  EXPECT_EQ(with("tokenizer.ggml.pre", std::string("dbrx")),
            "tokenizer.ggml.pre: expected qwen2, llama-bpe, smollm or gpt-2, found dbrx");
  EXPECT_EQ(with("tokenizer.ggml.eos_token_id", uint32_t(300)),
            "tokenizer.ggml.eos_token_id: expected the id of a token, found 300");
  EXPECT_EQ(with("tokenizer.ggml.token_type", gguf_array(std::vector<int32_t>{1})),
            "tokenizer.ggml.token_type: expected one for each of 300 tokens, found 1");
  EXPECT_EQ(
      with("general.architecture", std::string("mamba")),
      "general.architecture: expected phantom, trol, phantom-trol, revenant, or llama, qwen2, "
      "internlm2 or phi3 (text only), found mamba");
  EXPECT_EQ(complaint([](Plain& p) {
              p.tensors.push_back(p.tensors.front());
              p.tensors.back().name = "rope_freqs.weight";
            }),
            "rope_freqs.weight: expected only tensors of a revenant model on llama, found a tensor "
            "that nothing uses");
}

}  // namespace
}  // namespace revenant
