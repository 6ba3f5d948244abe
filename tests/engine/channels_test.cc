// A tower in 8 bits per channel: what is written, that it is near what it was made of, and that a
// tower which does not bear it keeps its blocks.
#include "engine/channels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/model.h"
#include "engine/quantize.h"
#include "io/gguf.h"
#include "support/temporary.h"

namespace revenant {
namespace {

class ChannelsTest : public testing::Test {
 protected:
  Path made(const char* type, const QuantizeOptions& options = {}) {
    const Path file = place_.path / (std::to_string(made_++) + ".gguf");
    quantize(nano_, file, quantize_type(type), options);
    return file;
  }
  static size_t channels(const Path& file) {
    const Gguf gguf(file);
    return gguf.find(per_channel_key) ? gguf.texts(per_channel_key).size() : 0;
  }
  static std::vector<float> features(const Path& path) {
    const Model model(path, {.threads = 2});
    const int side = model.config().vision.image;
    Image picture = blank_image(side, side, 0);
    for (size_t i = 0; i < picture.rgb.size(); ++i) picture.rgb[i] = uint8_t(i * 2654435761u >> 24);
    const Tensor x = model.encode_tiles({&picture, 1});
    return {x.data(), x.data() + x.size()};
  }

  const Path nano_ = Path(REVENANT_SOURCE_DIR) / "models/phantom-nano";
  const Temporary place_;
  Threads threads_{2};
  int made_ = 0;
};

TEST_F(ChannelsTest, TheTowersMatricesHaveOneScaleAnOutput) {
  const Network network = Network::open(nano_);
  EXPECT_GT(channels_cosine(network, threads_), least_channels_cosine);
  const size_t layers = network.weights.tower.layers.size();
  EXPECT_EQ(channels(made("Q8_0")), 6 * layers);
  EXPECT_EQ(channels(made("Q4_0")), 6 * layers);
  EXPECT_EQ(channels(made("Q8_0", {.match = {"v.blk.0.*"}})), 6u);
  EXPECT_EQ(channels(made("Q8_0", {.per_channel = false})), 0u);
  EXPECT_EQ(channels(made("BF16")), 0u);
  const Gguf file(made("Q8_0", {.portable = true}));
  const std::string name = file.texts(per_channel_key).at(0);
  const GgufTensor& tensor = file.tensors().at(name);
  ASSERT_EQ(tensor.format, Format::q8_0);
  const size_t row = row_bytes(Format::q8_0, size_t(tensor.shape[1]));
  for (size_t at = 0; at < row; at += row_bytes(Format::q8_0, 32))
    EXPECT_EQ(std::memcmp(tensor.data.data() + at, tensor.data.data(), 2), 0) << at;  // f16 scales
}

// Packed and portable, and beside floats and blocks.
TEST_F(ChannelsTest, FeaturesAreNearThoseOfFloats) {
  const auto floats = features(nano_), channels = features(made("Q8_0")),
             portable = features(made("Q8_0", {.portable = true})),
             blocks = features(made("Q8_0", {.per_channel = false}));
  EXPECT_EQ(channels, portable);
  EXPECT_NE(channels, blocks);
  double product = 0, a = 0, b = 0;
  for (size_t i = 0; i < floats.size(); ++i) {
    product += double(floats[i]) * channels[i];
    a += double(floats[i]) * floats[i], b += double(channels[i]) * channels[i];
  }
  EXPECT_GT(product / std::sqrt(a * b), 0.999);
}

// One input a thousand times the others, which nothing reads, leaves them no bits.
TEST_F(ChannelsTest, ATowerThatDoesNotBearItIsFound) {
  Network network = Network::open(nano_);
  for (TowerLayer<Weight>& layer : network.weights.tower.layers) {
    auto values = std::make_shared<std::vector<float>>(*layer.norm2.weight.vector.values);
    values->at(0) *= 3000;
    layer.norm2.weight.vector.values = values;
    const Packed up = layer.up.weight.packed;
    layer.up.weight.packed =
        packed_floats(Format::f32, up.rows, up.columns, threads_, [&](int row, float* out) {
          up.unpack_row(row, out);
          out[0] = 0;
        });
  }
  EXPECT_LT(channels_cosine(network, threads_), least_channels_cosine);
}

TEST_F(ChannelsTest, OnlyWhatIsInEightBitsMayBeNamed) {
  for (const auto& [name, format] :
       {std::pair("blk.0.attn_q.weight", Format::q4_0), {"nothing", Format::q8_0}}) {
    const Path file = made("Q4_0", {.portable = true});
    std::string bytes = read_file(file);
    const std::string known = Gguf(file).texts(per_channel_key).at(0);
    std::string other(name);
    other.resize(known.size(), '!');
    const size_t at = bytes.find(known);  // the key's list stands before the tensors' names
    ASSERT_NE(at, bytes.npos);
    write_file(file, bytes.replace(at, known.size(), other));
    EXPECT_THROW(Network::open(file), Error) << name;
  }
}

}  // namespace
}  // namespace revenant
