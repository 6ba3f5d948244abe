#include "fuzz/targets.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "base/json.h"
#include "client/chat.h"
#include "data/check.h"
#include "data/sprite.h"
#include "fuzz/http_target.h"
#include "image/image.h"
#include "io/checkpoint.h"
#include "io/gate_file.h"
#include "io/gguf.h"
#include "io/pickle.h"
#include "io/zip.h"
#include "model/config.h"
#include "model/weights.h"
#include "serve/embedding.h"
#include "serve/picture.h"
#include "support/temporary.h"
#include "text/instruction.h"
#include "text/prompt.h"
#include "text/train_bpe.h"
#include "train/recipe.h"
#include "triples/review.h"

namespace revenant::fuzz {
namespace {

const std::string subject = "input";

// Parsers of paths get a file. One folder serves all inputs of a process: a name is written anew
// each time. No write_file: it flushes to the disk.
Path written(const Path& folder, const std::string& name, std::string_view bytes) {
  std::ofstream(folder / name, std::ios::binary) << bytes;
  return folder / name;
}

Path written(const std::string& name, std::string_view bytes) {
  static const Temporary folder;
  return written(folder.path, name, bytes);
}

std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// Files.

void read_values(const TensorView& tensor) {
  switch (tensor.dtype) {
    case DType::f32:
    case DType::f16:
    case DType::bf16:
    case DType::f64:
      CHECK(to_floats(tensor).size() == size_t(tensor.count()));
      return;
    default:
      CHECK(to_ints(tensor).size() == size_t(tensor.count()));
  }
}

void gguf(std::string_view bytes) {
  const Gguf file(written("model.gguf", bytes));
  for (const auto& [name, tensor] : file.tensors()) {
    if (!tensor.format) continue;
    const size_t columns = size_t(tensor.shape.back()), size = row_bytes(*tensor.format, columns);
    std::vector<float> row(columns);
    for (size_t at = 0; at < tensor.data.size(); at += size)
      unpack_row(*tensor.format, tensor.data.data() + at, row);
  }
}

void safetensors(std::string_view bytes) {
  const Safetensors file(written("model.safetensors", bytes));
  for (const auto& [name, tensor] : file.tensors()) read_values(tensor);
}

// The index of two shards that stand beside it: a and b, with one number each.
void shard_index(std::string_view bytes) {
  static const Temporary folder;
  static const bool shards = [] {
    const float number = 1;
    const auto shard = [&](const std::string& name) {
      const TensorView view{DType::f32, {1}, std::as_bytes(std::span(&number, 1))};
      write_safetensors(folder.path / (name + ".safetensors"),
                        std::vector<NamedTensor>{{name, view}});
    };
    shard("a"), shard("b");
    write_file(folder.path / "config.json", "{}");
    return true;
  }();
  CHECK(shards);
  written(folder.path, "model.safetensors.index.json", bytes);
  const Checkpoint checkpoint = Checkpoint::open(folder.path);
  for (const auto& [name, tensor] : checkpoint.tensors()) read_values(tensor);
}

void gate_file(std::string_view bytes) {
  static const Temporary folder;
  written(folder.path, "trol_gating.pt", bytes);
  if (const auto gate = read_gate_file(folder.path); gate && gate->weight)
    read_values(gate->weight->view());
}

void pickled(std::string_view bytes) { pickle::read(bytes, subject); }
void zip(std::string_view bytes) { read_zip(as_bytes(bytes), subject); }

// What is done with every config.json: its values are read, and the tensors that it asks for
// listed.
void config(std::string_view bytes) {
  const Config c = parse_config(parse_json(bytes, {"config", subject}), subject);
  CHECK(parameter_counts(c).size() > 0);
}

// Pictures; small ones, so that many can be tried.
void picture(std::string_view bytes) {
  constexpr ReadOptions options{1 << 18, Exif::apply};
  const Image image = decode_image(as_bytes(bytes), subject, options);
  CHECK(image.rgb.size() == size_t(image.width) * size_t(image.height) * 3);
}

void sprite(std::string_view bytes) { trimmed(read_sprite(written("sprite.png", bytes))); }

// Text.

// Whatever a tokenizer makes of a text, decoding token by token gives what decoding at once gives.
void use(const Tokenizer& tokenizer, std::string_view text) {
  for (const Specials specials : {Specials::as_text, Specials::as_tokens}) {
    const std::vector<int32_t> ids = tokenizer.encode(text, specials);
    for (const bool keep : {false, true}) {
      StreamDecoder stream(tokenizer, keep);
      std::string joined;
      for (const int32_t id : ids) joined += stream.push(id);
      CHECK(joined + stream.finish() == tokenizer.decode(ids, keep));
    }
  }
}

void open_and_use(const Path& folder) {
  const Tokenizer tokenizer = Tokenizer::open(folder);
  use(tokenizer, "<s>The \xC3\xA4pple's  12 <|im_end|>\r\n\xE2\x96\x81\xFF\xF0\x9F\x8E\x83\t I'LL");
}

void tokenizer_json(std::string_view bytes) {
  static const Temporary folder;
  written(folder.path, "tokenizer.json", bytes);
  open_and_use(folder.path);
}

void tokenizer_model(std::string_view bytes) {
  static const Temporary folder;
  written(folder.path, "tokenizer.model", bytes);
  open_and_use(folder.path);
}

// vocab.json, a zero byte, merges.txt.
void vocab_and_merges(std::string_view bytes) {
  static const Temporary folder;
  const size_t cut = std::min(bytes.find('\0'), bytes.size());
  written(folder.path, "vocab.json", bytes.substr(0, cut));
  written(folder.path, "merges.txt", bytes.substr(std::min(cut + 1, bytes.size())));
  open_and_use(folder.path);
}

// A tokenizer of bytes, a few merges and qwen2's template.
std::string small_tokenizer() {
  const std::vector<std::string> texts = {"what is in this picture? what is it?"};
  const std::vector<std::string> specials = {"<|endoftext|>", "<|im_start|>", "<|im_end|>",
                                             "<img>",         "</img>",       "<IMG_CONTEXT>"};
  return train_byte_bpe(texts, 270, specials);
}

// The files beside tokenizer.json. The first byte says which: t, s or a.
void tokenizer_side_files(std::string_view bytes) {
  static const Temporary folder;
  static const Path main = written(folder.path, "tokenizer.json", small_tokenizer());
  const char kind = bytes.empty() ? 't' : bytes.front();
  const char* names[] = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};
  for (const char* name : names) std::filesystem::remove(folder.path / name);
  const char* name = names[kind == 's' ? 1 : kind == 'a' ? 2 : 0];
  written(folder.path, name, bytes.substr(std::min<size_t>(1, bytes.size())));
  open_and_use(main.parent_path());
}

// What a person or a data set's row says, through every template and back through the filter.
void prompt(std::string_view text) {
  static const Tokenizer tokenizer = [] {
    const Temporary folder;
    written(folder.path, "tokenizer.json", small_tokenizer());
    return Tokenizer::open(folder.path);
  }();
  use(tokenizer, text);
  const std::string half(text.substr(0, text.size() / 2)), rest(text.substr(text.size() / 2));
  const std::vector<Turn> turns = {{half, 0, rest.empty() ? "yes" : rest}, {rest, 0, ""}};
  const std::vector<int> sizes(text.size() + 1, 4);
  for (const PromptRule& rule : prompt_rules()) {
    const std::vector<Piece> pieces = row_pieces(rule, turns);
    prompt_text(rule, pieces, sizes);
    filter_output(rule, text);
    for (const Benchmark& benchmark : benchmarks(rule)) with_ask(benchmark, text);
  }
  const PromptRule& rule = prompt_rule(PromptFamily::phantom_qwen2);
  encode_prompt(tokenizer, rule, row_pieces(rule, turns), sizes);
}

// Requests of the server. What it tells a client is an error, too.

template <class F>
void answered(const F& read) {
  try {
    read();
  } catch (const Failure& failure) {
    CHECK(failure.status == 400 && error_json(failure)["error"].size() == 4);
    throw Error("serve", subject, failure.what());
  }
}

void ask(std::string_view bytes) {
  const nlohmann::json body = parse_json(bytes, {"serve", subject}, 64);
  MediaReader media;
  answered([&] {
    if (body.is_object() && body.contains("prompt"))
      completion_ask(body, {});
    else if (body.is_object() && body.contains("input"))
      embedding_ask(body, {});
    else
      for (const PictureAsked& picture : chat_ask(body, {}).talk.pictures)
        decoded_picture(picture, {.pixels = 10'000}, media);
  });
}

// A URL of a picture. What is accepted names a host in one way only, or a path without a way up;
// and written again it is read again as the same.
void media_url(std::string_view text) {
  const MediaUrl read = parse_media_url(text);
  CHECK(read.url.host.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_.") == text.npos);
  CHECK(read.url.path.find_first_of("\\ #\r\n") == text.npos &&
        read.url.path.find('\0') == text.npos);
  if (read.file) {
    CHECK(!read.path.empty() && read.path.find('\0') == text.npos && read.url.host.empty());
    for (const Path& part : Path(read.path)) CHECK(!part.empty() && part != ".." && part != ".");
  } else {
    CHECK(read.url.tls && read.url.path.starts_with('/') && !parse_address(read.url.host));
    CHECK(parse_media_url(read.url.text()).url == read.url);
    const Url domain = parse_media_domain(read.url.host + ":" + read.url.port);
    CHECK(domain.host == read.url.host && domain.port == read.url.port);
  }
}

void data_uri(std::string_view uri) {
  constexpr PictureLimits limits{.pixels = 10'000, .side = 200};
  answered([&] {
    MediaReader nothing;
    const Image image = decoded_picture({"messages[0].content[0].image_url", uri}, limits, nothing);
    CHECK(image.width > 0 && image.height > 0 &&
          std::max(image.width, image.height) <= limits.side);
    CHECK(int64_t(image.width) * image.height <= limits.pixels);
    CHECK(image.rgb.size() == size_t(image.width) * size_t(image.height) * 3);
  });
}

// A schema, a line break, and what is read by it. What is read to its end is JSON.
void schema(std::string_view bytes) {
  const size_t line = std::min(bytes.find('\n'), bytes.size());
  const nlohmann::json read = parse_json(bytes.substr(0, line), {"serve", subject}, 64);
  answered([&] {
    JsonGrammar grammar = schema_grammar(read, "schema", {.elements = 5'000, .length = 100});
    Matcher matcher(std::move(grammar.grammar), grammar.start);
    Matcher::State state = matcher.start();
    const std::string_view text = bytes.substr(std::min(line + 1, bytes.size()));
    for (const char c : text)
      if ((state = matcher.after(state, uint8_t(c))) == Matcher::none) return;
    CHECK(!matcher.complete(state) || nlohmann::json::accept(text));
  });
}

// Rows and recipes.

// Beside one picture's name, a.png, and a meta file's annotation, b.jsonl. What training reads, the
// checker finds nothing wrong with but for pictures and alike answers.
void dataset(std::string_view bytes) {
  static const Temporary folder;
  static const Path picture = written(folder.path, "a.png", "");
  static const Path beside = written(folder.path, "b.jsonl", R"({"question":"Q","answer":"A"})");
  const Path file = written(folder.path, "rows.json", bytes);
  size_t refused = 0;
  check_rows(file, {.threads = 1}, [&](const Finding& finding) {
    const std::string& wanted = finding.fault.expected;
    refused += !finding.warning && wanted != "a whole picture" && wanted != "at least one row" &&
               !wanted.starts_with("another answer");
  });
  const std::vector<Row> rows = read_rows(file);
  CHECK(refused == 0);
  group_rows(rows);
  for (const Row& row : rows) split_image_marks(row.question);
}

// What another server answers: a status of 200, and its pause on the first line.
void chat_reply(std::string_view bytes) {
  const size_t line = std::min(bytes.find('\n'), bytes.size());
  (void)retry_after_seconds(std::string(bytes.substr(0, line)), 0);
  try {
    parse_chat_reply(std::string(bytes), subject);
  } catch (const NoChat& wrong) {
    throw Error("client", subject, wrong.what());
  }
}

// And a streamed one, in pieces as long as its first byte says.
void chat_stream(std::string_view bytes) {
  if (bytes.empty()) throw Error("client", subject, "a length", "nothing");
  const size_t piece = 1 + uint8_t(bytes[0]);
  ChatChunks chunks(subject, [](const ChatClient::Told& told) { CHECK(!told.text.empty()); });
  try {
    for (size_t at = 1; at < bytes.size(); at += piece) chunks.push(bytes.substr(at, piece));
    (void)chunks.reply();
  } catch (const NoChat& wrong) {
    throw Error("client", subject, wrong.what());
  } catch (const NotAnswered& told) {
    throw Error("client", subject, "an answer", told.what());
  }
}

void review(std::string_view bytes) {
  Row row;
  row.question = "Q", row.answer = "A";
  read_review(written("review.json", bytes), {&row, 1});
}

void recipe(std::string_view bytes) {
  const Recipe r = read_recipe(written("recipe.yaml", bytes), {});
  for (const int step : {0, 1, r.max_steps - 1}) learning_rate_at(r, step);
}

constexpr Target all[] = {
    {"safetensors", safetensors},
    {"gguf", gguf},
    {"shard_index", shard_index},
    {"gate_file", gate_file},
    {"pickle", pickled},
    {"zip", zip},
    {"config", config},
    {"png", picture},
    {"jpeg", picture},
    {"webp", picture},
    {"sprite", sprite},
    {"tokenizer_json", tokenizer_json},
    {"tokenizer_model", tokenizer_model},
    {"tokenizer_side_files", tokenizer_side_files},
    {"vocab_and_merges", vocab_and_merges},
    {"prompt", prompt},
    {"ask", ask},
    {"media_url", media_url},
    {"schema", schema},
    {"data_uri", data_uri},
    {"http", http},
    {"dataset", dataset},
    {"chat_reply", chat_reply},
    {"chat_stream", chat_stream},
    {"review", review},
    {"recipe", recipe},
};

}  // namespace

std::span<const Target> targets() { return all; }

const Target& target(std::string_view name) {
  std::string names;
  for (const Target& t : all) {
    if (t.name == name) return t;
    names += (names.empty() ? "" : " ") + std::string(t.name);
  }
  throw Error("fuzz", "target", "one of " + names, std::string(name));
}

}  // namespace revenant::fuzz
