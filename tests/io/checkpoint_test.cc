#include "io/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "support/temporary.h"

namespace revenant {
namespace {

using nlohmann::json;

// A tensor of `count` floats, all of one value, produced in pieces of one float.
TensorSource constant(const std::string& name, int64_t count, float value) {
  return {name, DType::f32, {count}, [count, value](const Sink& sink) {
            for (int64_t i = 0; i < count; ++i) sink(std::as_bytes(std::span(&value, 1)));
          }};
}

const std::vector<TensorSource> three = {constant("c", 4, 3), constant("a", 4, 1),
                                         constant("b", 100, 2)};

std::vector<std::string> names_in(const Path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string error_of(const Path& directory) {
  try {
    Checkpoint::open(directory);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

const std::string shard1 = "model-00001-of-00002.safetensors";
const std::string shard2 = "model-00002-of-00002.safetensors";
const std::string index_name = "model.safetensors.index.json";

void edit_index(const Path& directory, const std::function<void(json&)>& change) {
  json index = json::parse(read_file(directory / index_name));
  change(index);
  write_file(directory / index_name, index.dump());
}

TEST(Checkpoint, OneFileRoundTrip) {
  const Temporary place;
  const json config = {{"model_type", "phantom"}, {"n", 3}};
  write_checkpoint(place.path / "new" / "deep", config, three);
  EXPECT_EQ(names_in(place.path / "new" / "deep"),
            (std::vector<std::string>{"config.json", "model.safetensors"}));
  const Checkpoint read = Checkpoint::open(place.path / "new" / "deep");
  EXPECT_EQ(read.config(), config);
  EXPECT_EQ(read.tensors().size(), 3u);
  EXPECT_EQ(to_floats(read.tensor("b")), std::vector<float>(100, 2));
  EXPECT_EQ(read.file_of("b").filename(), "model.safetensors");
  EXPECT_THROW(read.tensor("d"), Error);
}

TEST(Checkpoint, ShardsRoundTripAndReplaceEachOther) {
  const Temporary place;
  const Path& dir = place.path;
  write_file(dir / "tokenizer.json", "{}");
  write_checkpoint(dir, {}, three, 16);
  EXPECT_EQ(names_in(dir).size(), 6u);  // three shards, index, config, tokenizer
  write_checkpoint(dir, {}, three, 32);
  EXPECT_EQ(names_in(dir), (std::vector<std::string>{"config.json", shard1, shard2, index_name,
                                                     "tokenizer.json"}));
  const Checkpoint read = Checkpoint::open(dir);
  EXPECT_EQ(read.files().size(), 2u);
  EXPECT_EQ(read.file_of("a").filename(), shard1);
  EXPECT_EQ(read.file_of("b").filename(), shard2);
  EXPECT_EQ(to_floats(read.tensor("a")), std::vector<float>(4, 1));
  EXPECT_EQ(json::parse(read_file(dir / index_name))["metadata"]["total_size"], 432);
  write_checkpoint(dir, {}, three);
  EXPECT_EQ(names_in(dir),
            (std::vector<std::string>{"config.json", "model.safetensors", "tokenizer.json"}));
  EXPECT_EQ(Checkpoint::open(dir).tensors().size(), 3u);
}

// As Hugging Face's cache lays files out, and as hand-made indices are.
TEST(Checkpoint, LinksAndWrongSizesInTheIndexLoad) {
  const Temporary place;
  const Path blobs = place.path / "blobs", snapshot = place.path / "snapshot";
  write_checkpoint(blobs, {}, three, 32);
  edit_index(blobs, [](json& i) { i["metadata"]["total_size"] = 1; });
  std::filesystem::create_directories(snapshot);
  for (const std::string& name : names_in(blobs))
    std::filesystem::create_symlink(blobs / name, snapshot / name);
  EXPECT_EQ(to_floats(Checkpoint::open(snapshot).tensor("a")), std::vector<float>(4, 1));
  edit_index(blobs, [](json& i) { i.erase("metadata"); });
  EXPECT_EQ(Checkpoint::open(snapshot).tensors().size(), 3u);
  std::filesystem::remove(blobs / shard1);
  EXPECT_HAS(error_of(snapshot), shard1 + ": expected the shard that the index names for a");
}

TEST(Checkpoint, FailedWriteLeavesTheOldOne) {
  const Temporary place;
  write_checkpoint(place.path, {{"v", 1}}, three, 32);
  const auto before = names_in(place.path);
  auto bad = three;
  bad[2].produce = [](const Sink&) { throw std::runtime_error("disk on fire"); };
  EXPECT_THROW(write_checkpoint(place.path, {{"v", 2}}, bad), std::runtime_error);
  bad[2].produce = [](const Sink&) {};
  EXPECT_THROW(write_checkpoint(place.path, {{"v", 2}}, bad), Error);
  EXPECT_THROW(write_checkpoint(place.path, {}, std::vector{three[0], three[1], three[0]}, 16),
               Error);
  EXPECT_EQ(names_in(place.path), before);
  EXPECT_EQ(Checkpoint::open(place.path).config()["v"], 1);
}

TEST(Checkpoint, NoRoomIsSaidBeforeAnythingIsWritten) {
  const Temporary place;
  const std::vector<TensorSource> huge = {constant("x", int64_t(1) << 58, 0)};
  try {
    write_checkpoint(place.path / "new", {}, huge);
    FAIL();
  } catch (const Error& e) {
    EXPECT_HAS(std::string(e.what()), "bytes of free space, found");
  }
  EXPECT_TRUE(names_in(place.path).empty());
}

TEST(Checkpoint, EachDisagreementIsNamed) {
  const Temporary place;
  const Path& dir = place.path;
  const auto broken = [&](const std::function<void()>& change) {
    write_checkpoint(dir, {}, three, 32);
    change();
    return error_of(dir);
  };
  EXPECT_EQ(broken([] {}), "no error");
  EXPECT_HAS(broken([&] { edit_index(dir, [](json& i) { i["weight_map"]["z"] = shard2; }); }),
             shard2 + ": z: expected the tensor that the index puts here, found none");
  EXPECT_HAS(broken([&] { edit_index(dir, [](json& i) { i["weight_map"].erase("a"); }); }),
             shard1 + ": a: expected that the index puts it here, found no line for it");
  EXPECT_HAS(broken([&] { edit_index(dir, [](json& i) { i["weight_map"]["a"] = shard2; }); }),
             ": a: expected that the index puts it here, found " + shard2);
  EXPECT_HAS(broken([&] { std::filesystem::remove(dir / shard2); }),
             shard2 + ": expected the shard that the index names for b, found no file");
  for (const char* bad :
       {"../x.safetensors", "/x.safetensors", "a\\x.safetensors", "config.json", "", ".."}) {
    EXPECT_HAS(broken([&] { edit_index(dir, [&](json& i) { i["weight_map"]["a"] = bad; }); }),
               index_name + ": a: expected the plain name of a .safetensors file, found");
  }
  EXPECT_HAS(broken([&] { edit_index(dir, [](json& i) { i["weight_map"]["a"] = 7; }); }),
             "found 7");
  EXPECT_HAS(broken([&] { edit_index(dir, [](json& i) { i.erase("weight_map"); }); }),
             "an object with a weight_map");
  EXPECT_HAS(broken([&] {
               write_file(dir / index_name, R"({"weight_map":{"a":"x.safetensors","a":"y"}})");
             }),
             "expected unique keys, found \"a\" twice");
  EXPECT_HAS(broken([&] { write_file(dir / "model.safetensors", ""); }), "either one file or");
  std::filesystem::remove(dir / "model.safetensors");
  EXPECT_HAS(broken([&] { std::filesystem::resize_file(dir / shard1, 40); }), "[safetensors] ");
  EXPECT_HAS(broken([&] { std::filesystem::remove(dir / "config.json"); }), "config.json: ");
  EXPECT_HAS(broken([&] { write_file(dir / "config.json", "{"); }), "config.json: expected JSON");
  EXPECT_HAS(broken([&] { write_file(dir / "config.json", std::string(1000, '[')); }),
             "expected at most 512 levels of JSON");
  EXPECT_HAS(broken([&] { std::filesystem::remove(dir / index_name); }), "found neither");
  EXPECT_HAS(error_of(dir / "absent"), "expected a checkpoint directory, found none");
  for (const char* pickled : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
    EXPECT_HAS(broken([&] {
                 std::filesystem::remove(dir / index_name);
                 write_file(dir / pickled, "");
               }),
               "found pytorch_model.bin: convert it to safetensors");
}

}  // namespace
}  // namespace revenant
