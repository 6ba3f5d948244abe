// Damaged models and pictures: one clear line, exit code 1, nothing written.
#include <gtest/gtest.h>

#include <cstring>

#include "cli/fixture.h"

namespace revenant {
namespace {

// The same file, but two norms lie at the same place.
std::string overlapping(const std::string& whole) {
  uint64_t length = 0;
  std::memcpy(&length, whole.data(), 8);
  json header = json::parse(whole.substr(8, length));
  const std::string layer = "language_model.model.layers.", norm = ".input_layernorm.weight";
  json& a = header.at(layer + "0" + norm)["data_offsets"];
  json& b = header.at(layer + "1" + norm)["data_offsets"];
  if (a[0] < b[0])
    b = a;
  else
    a = b;
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t size = text.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + text + whole.substr(8 + length);
}

TEST_F(Cli, BadWeights) {
  const std::string whole = read_file(weights());
  const Words ask = {"run", "-m", model_, "-p", "x"};
  write_file(weights(), whole.substr(0, whole.size() - 100));
  expect_failure(ask, "data_offsets within");
  expect_failure({"inspect", "-m", model_}, "model.safetensors");
  write_file(weights(), "");
  expect_failure(ask, "model.safetensors");
  write_file(weights(), overlapping(whole));
  expect_failure(ask, "(overlap)");
}

TEST_F(Cli, MissingShard) {
  std::filesystem::remove(weights());
  expect_failure({"run", "-m", model_, "-p", "x"}, "model");
  write_file(
      place_ / "model" / "model.safetensors.index.json",
      R"({"metadata":{"total_size":4},"weight_map":{"a":"model-00001-of-00002.safetensors"}})");
  expect_failure({"run", "-m", model_, "-p", "x"}, "model-00001-of-00002.safetensors");
}

TEST_F(Cli, BadConfigAndTokenizer) {
  expect_failure(
      {"run", "-m", model_, "-p", "x", "--config-set", "llm_config.intermediate_size=49"},
      "expected [49, 32], found [48, 32]");
  expect_failure({"inspect", "-m", model_, "--config-set", "llm_config.model_type=mamba"}, "mamba");
  expect_failure({"inspect", "-m", model_, "--config-set", "no equals sign"}, "no equals sign");
  std::filesystem::remove(place_ / "model" / "tokenizer.json");
  expect_failure({"run", "-m", model_, "-p", "x"}, "tokenizer");
  expect_failure({"chat", "-m", model_}, "tokenizer");
  expect_failure({"tokenize", "-m", model_}, "tokenizer");
  expect_failure({"run", "-m", (place_ / "nowhere").string(), "-p", "x"}, "nowhere");
  write_file(place_ / "model" / "config.json", "{");
  expect_failure({"run", "-m", model_, "-p", "x"}, "config.json");
}

// The header of a PNG, which is all that may be looked at.
std::string huge_png() {
  std::string png = encode_png(blank_image(8, 8));
  const unsigned char side[] = {0, 0, 0xC3, 0x50};  // 50,000
  for (int i = 0; i < 4; ++i) png[size_t(16 + i)] = png[size_t(20 + i)] = char(side[i]);
  uint32_t crc = ~0u;  // of IHDR, so that nothing but its size is wrong
  for (size_t i = 12; i < 29; ++i) {
    crc ^= uint8_t(png[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  crc = ~crc;
  for (int i = 0; i < 4; ++i) png[size_t(29 + i)] = char(crc >> (24 - 8 * i));
  return png;
}

TEST_F(Cli, BadPicturesWriteNothing) {
  const std::string sheet = (place_ / "sheet.png").string(), bad = (place_ / "bad.png").string();
  const std::pair<std::string, std::string> all[] = {
      {"", "bad.png"}, {huge_png(), "50000"}, {"this is no picture\n", "text"}};
  for (const auto& [content, part] : all) {
    write_file(bad, content);
    expect_failure({"tiles", bad, "-o", sheet}, part);
    expect_failure({"run", "-m", model_, "--image", bad, "-p", "x"}, part);
    EXPECT_FALSE(std::filesystem::exists(sheet));
  }
  expect_failure({"tiles", (place_ / "none.png").string(), "-o", sheet}, "none.png");
  expect_failure({"tiles", picture_, "-o", (place_ / "no" / "sheet.png").string()}, "sheet.png");
}

}  // namespace
}  // namespace revenant
