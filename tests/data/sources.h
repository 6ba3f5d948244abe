// Made-up sources in the layout of tools/fetch_data.sh, small enough for a unit test.
#pragma once

#include <png.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/random.h"

namespace revenant::made_up {

inline void write(const Path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

inline void write_rgba(const Path& path, int width, int height, const std::vector<uint8_t>& rgba) {
  std::filesystem::create_directories(path.parent_path());
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = png_uint_32(width), image.height = png_uint_32(height);
  image.format = PNG_FORMAT_RGBA;
  png_image_write_to_file(&image, path.c_str(), 0, rgba.data(), 0, nullptr);
}

inline uint64_t hash_of(const std::string& text) {  // FNV-1a, the same on every machine
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : text) hash = (hash ^ uint8_t(c)) * 0x100000001b3ull;
  return hash;
}

inline void write_flat(const Path& path, uint8_t red, uint8_t green, uint8_t blue) {
  std::vector<uint8_t> rgba;
  for (int i = 0; i < 16 * 16; ++i) rgba.insert(rgba.end(), {red, green, blue, 255});
  write_rgba(path, 16, 16, rgba);
}

// A drawing that its key alone decides.
inline void write_drawing(const Path& path, const std::string& key) {
  constexpr int kSide = 16;
  Random random(hash_of(key));
  std::vector<uint8_t> rgba;
  for (int i = 0; i < kSide * kSide; ++i) {
    for (int c = 0; c < 3; ++c) rgba.push_back(uint8_t(random.below(256)));
    rgba.push_back(255);
  }
  write_rgba(path, kSide, kSide, rgba);
}

inline std::string big_endian(uint32_t value) {
  return {char(value >> 24), char(value >> 16), char(value >> 8), char(value)};
}

inline void fashion_mnist(const Path& sources, size_t pictures) {
  for (const std::string stem : {"train", "t10k"}) {
    std::string images =
        big_endian(2051) + big_endian(uint32_t(pictures)) + big_endian(28) + big_endian(28);
    std::string labels = big_endian(2049) + big_endian(uint32_t(pictures));
    Random random(stem.size());
    for (size_t i = 0; i < pictures; ++i) {
      labels += char((7 * i + stem.size()) % 10);
      for (int p = 0; p < 28 * 28; ++p) images += char(random.below(256));
    }
    write(sources / "fashion-mnist" / (stem + "-images-idx3-ubyte"), images);
    write(sources / "fashion-mnist" / (stem + "-labels-idx1-ubyte"), labels);
  }
  write(sources / "fashion-mnist" / "SOURCES.json", "[]\n");
}

// `shared`: test picture 0 equals training picture 0.
// Three pictures a split; `described` more have an official colour and shape.
inline void easy_vqa(const Path& sources, bool shared, int described = 0) {
  for (const std::string split : {"train", "test"}) {
    const Path folder = sources / "easy-vqa" / split;
    for (int i = 0; i < 3; ++i)
      write_drawing(folder / "images" / (std::to_string(i) + ".png"),
                    shared && i == 0 ? "both" : split + std::to_string(i));
    std::string more;
    for (int i = 3; i < 3 + described; ++i) {
      const std::string number = std::to_string(i);
      const std::string shape = std::vector{"circle", "rectangle", "triangle"}[size_t(i) % 3];
      const std::string color = std::vector{"blue", "red", "gray", "teal", "yellow"}[size_t(i) % 5];
      write_drawing(folder / "images" / (number + ".png"), split + number);
      more += R"(, ["what shape?", ")" + shape + R"(", )" + number + R"(], ["what color?", ")" +
              color + R"(", )" + number + R"(], ["no yellow?", "yes", )" + number + "]";
    }
    write(folder / "questions.json",
          R"([["what shape?", "circle", 0], ["is it red?", "no", 1], ["what color?", "red", 0],
              ["is it blue?", "yes", 2])" +
              more + "]");
  }
  write(sources / "easy-vqa" / "SOURCES.json", "[]\n");
}

inline const std::vector<std::string>& labels() {
  static const std::vector<std::string> names = {
      "elephant", "penguin",   "octopus", "butterfly", "crab",      "sunflower",
      "cactus",   "mushroom",  "lemon",   "banana",    "bus",       "airplane",
      "rocket",   "house",     "balloon", "bell",      "sun",       "snowman",
      "ghost",    "hamburger", "carrot",  "doughnut",  "palm tree", "pineapple"};
  return names;
}

// Besides, entries that are no fair question or that a style lacks: their names hold "never".
inline std::string more_emoji(const Path& folder) {
  struct Entry {
    const char *label, *code, *slug;
    int group;
    bool in_noto;
  };
  std::string data;
  for (const Entry& e : {Entry{"Never o\u2019clock", "1f550", "never-oclock", 5, true},
                         Entry{"never-thirty", "1f55c", "never-thirty", 5, true},
                         Entry{"kiss: never", "1f48f", "kiss-never", 1, true},
                         Entry{"one two three never", "1f600", "one-two-three-never", 0, true},
                         Entry{"never flag", "1f3f4", "never-flag", 9, true},
                         Entry{"never tone", "1f3fb", "never-tone", 2, true},
                         Entry{"never in noto", "1f984", "never-in-noto", 3, false}}) {
    data += std::string(",{\"label\":\"") + e.label + "\",\"hexcode\":\"" + e.code +
            "\",\"group\":" + std::to_string(e.group) + ",\"subgroup\":99}";
    for (const std::string style : {"twemoji", "openmoji", "noto"})
      if (style != "noto" || e.in_noto)
        write_drawing(folder / style / (e.code + std::string(".png")), style + e.code);
    for (const std::string style : {"fluent-flat", "fluent-modern"})
      write_drawing(folder / style / (e.slug + std::string(".png")), style + e.code);
  }
  return data + R"(,{"label":"never lone","hexcode":"1F1E6"})";
}

inline void emoji(const Path& sources) {
  const Path folder = sources / "emoji";
  std::string data = "[";
  for (size_t i = 0; i < labels().size(); ++i) {
    const std::string code = "1f" + std::to_string(400 + i), group = i < 16 ? "3" : "5";
    const std::string comma = i ? "," : "";
    data += comma + "{\"label\":\"" + labels()[i] + "\",\"hexcode\":\"" + code +
            "-FE0F\",\"group\":" + group + ",\"subgroup\":" + std::to_string(i) + "}";
    std::string slug = labels()[i], glued = slug;
    std::replace(slug.begin(), slug.end(), ' ', '-');
    std::erase(glued, ' ');
    for (const std::string style : {"twemoji", "openmoji", "noto"})
      write_drawing(folder / style / (code + ".png"), style + code);
    for (const std::string style : {"fluent-flat", "fluent-modern", "fluent-high-contrast"})
      write_drawing(folder / style / (slug + ".png"), style + code);
    for (const std::string style : {"emojione", "emojione-monotone", "streamline-emojis"})
      if (i % 2) write_drawing(folder / style / (slug + ".png"), style + code);
    if (i % 2 == 0) write_drawing(folder / "fxemoji" / (glued + ".png"), "fxemoji" + code);
  }
  write(folder / "data.json", data + more_emoji(folder) + "]");
  write(folder / "SOURCES.json", "[]\n");
}

inline void flags(const Path& sources) {
  const Path folder = sources / "flags";
  std::string data = "[";
  for (char letter = 'a'; letter < 'm'; ++letter) {
    const std::string code = {letter, letter}, name = "Land " + std::string(1, char(letter - 32));
    data += letter > 'a' ? "," : "";
    data += "{\"code\":\"" + code + "\",\"name\":\"" + name + "\",\"capital\":\"City " + code +
            "\",\"continent\":\"" + (letter % 2 ? "Asia" : "Europe") + "\",\"iso\":true}";
    write_drawing(folder / "4x3" / (code + ".png"), letter < 'c' ? "twins" : code);
    write_drawing(folder / "1x1" / (code + ".png"), "square " + code);
  }
  // Shared drawings, of which the second is an owner's; then entries that nobody may be asked
  // about.
  const std::string asia = R"(","capital":"Town","continent":"Asia","iso":true})";
  data += R"(,{"code":"fr","name":"United \u00c9land","capital":"\u00c9 Town",)"
          R"("continent":"Africa","iso":true},{"code":"gp","name":"Never 1)" +
          asia + R"(,{"code":"x1","name":"Never, 2)" + asia +
          R"(,{"code":"x2","name":"Never of too many words)" + asia +
          R"(,{"code":"x3","name":"Never 3","capital":"Town","continent":"Asia","iso":false})"
          R"(,{"code":"x4","name":"Never 4","continent":"Asia","iso":true})"
          R"(,{"code":"x5","name":"Never 5","capital":"Town","iso":true})"
          R"(,{"code":"x6","name":"Never 6)" +
          asia;
  for (const std::string code : {"fr", "gp", "x1", "x2", "x3", "x4", "x5"})
    write_drawing(folder / "4x3" / (code + ".png"), code == "fr" || code == "gp" ? "shared" : code);
  write(folder / "country.json", data + "]");
  write_drawing(sources / "emoji" / "openmoji" / "1f1e9-1f1e9.png", "dd in another style");
  write_drawing(sources / "emoji" / "twemoji" / "1f1f1-1f1f1.png", "ll in another style");
  write(folder / "SOURCES.json", "[]\n");
}

}  // namespace revenant::made_up
