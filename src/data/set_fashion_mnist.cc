// Fashion-MNIST (Zalando, MIT): official split, 28 x 28 grey, one question of class a picture and,
// for one picture in four, one of yes or no.
#include "base/error.h"
#include "data/sets.h"
#include "data/words.h"

namespace revenant {
namespace {

const std::vector<std::string> kClasses = {"t-shirt", "trousers",  "pullover", "dress",
                                           "coat",    "sandal",    "shirt",    "sneaker",
                                           "bag",     "ankle boot"};

const Wordings kWhich = {
    {"What piece of clothing is this?", "Which item is shown?", "What is in the picture?",
     "What is in this picture?", "What kind of fashion item is this?",
     "Name the item in the picture.", "What do you see?", "Which garment is this?",
     "What is this item called?", "What does the photo show?", "Tell me what this is.",
     "Which accessory or piece of clothing do you see?", "What would you call this?",
     "What does a shop sell here?", "Which article is in the photo?"},
    {"What garment or accessory does the photo show?", "What would a shop call this item?"}};
const Wordings kWhether = {{"Is this {a}?", "Does the picture show {a}?", "Is the item {a}?",
                            "Do you see {a}?", "Is {a} shown?", "Would you say this is {a}?"},
                           {"Would you call this {a}?", "Is it {a} that is shown here?"}};

constexpr int kSide = 28;

// IDX: big-endian magic and sizes, then bytes (yann.lecun.com/exdb/mnist).
std::string_view idx_bytes(const MappedFile& file, const Path& path, uint32_t magic, size_t header,
                           size_t item) {
  const std::string_view text = file.text();
  const auto word = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | uint8_t(text[at + i]);
    return value;
  };
  if (text.size() < header || word(0) != magic)
    throw Error("data", path.string(), "an IDX file of magic " + std::to_string(magic),
                text.size() < 4 ? "a shorter file" : std::to_string(word(0)));
  const size_t expected = header + size_t(word(4)) * item;
  if (text.size() != expected)
    throw Error("data", path.string(), std::to_string(expected) + " bytes",
                std::to_string(text.size()));
  return text.substr(header);
}

Image picture(std::string_view grey) {
  Image image;
  image.width = image.height = kSide;
  for (char value : grey) image.rgb.insert(image.rgb.end(), 3, uint8_t(value));
  return image;
}

size_t other_class(Random& random, size_t label) {
  return (label + 1 + random.below(kClasses.size() - 1)) % kClasses.size();
}

std::string noun_phrase(const std::string& name) {
  return name == "trousers" ? "a pair of trousers" : with_article(name);
}

std::vector<Question> questions_about(Random& random, size_t label, bool test) {
  const bool unseen = test && random.below(2) == 0;
  const auto& which = unseen ? kWhich.unseen : kWhich.seen;
  std::vector<Question> questions = {{pick(random, which), kClasses[label],
                                      kClasses[other_class(random, label)], "class", unseen}};
  if (random.below(4) != 0) return questions;
  const bool yes = random.below(2) == 0;
  const auto& whether = unseen ? kWhether.unseen : kWhether.seen;
  const std::string& asked = kClasses[yes ? label : other_class(random, label)];
  questions.push_back({filled_in(pick(random, whether), {{"a", noun_phrase(asked)}}),
                       yes ? "yes" : "no", yes ? "no" : "yes", "yesno", unseen});
  return questions;
}

void add_split(const Path& folder, const std::string& stem, const std::string& split,
               const MakeOptions& options, SetWriter& writer) {
  const Path image_path = folder / (stem + "-images-idx3-ubyte");
  const Path label_path = folder / (stem + "-labels-idx1-ubyte");
  const MappedFile image_file(image_path), label_file(label_path);
  const auto pixels = idx_bytes(image_file, image_path, 2051, 16, kSide * kSide);
  const auto labels = idx_bytes(label_file, label_path, 2049, 8, 1);
  if (pixels.size() != labels.size() * kSide * kSide)
    throw Error("data", image_path.string(), std::to_string(labels.size()) + " pictures",
                std::to_string(pixels.size() / (kSide * kSide)));
  writer.add_all(split, labels.size(), [&](size_t i) -> Item {
    const size_t label = uint8_t(labels[i]);
    if (label >= kClasses.size())
      throw Error("data", label_path.string(), "labels below 10", std::to_string(label));
    Random random = random_for(options.seed, "fashion-mnist " + split, i);
    return {picture(pixels.substr(i * kSide * kSide, kSide * kSide)),
            questions_about(random, label, split == "test")};
  });
}

}  // namespace

void make_fashion_mnist(const Path& sources, const MakeOptions& options, SetWriter& writer) {
  add_split(sources / "fashion-mnist", "train", "train", options, writer);
  add_split(sources / "fashion-mnist", "t10k", "test", options, writer);
}

}  // namespace revenant
