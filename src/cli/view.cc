// revenant view: gates, ghosts and attention of one answer, as a page of its own and as JSON.
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"
#include "engine/look.h"
#include "image/resize.h"
#include "text/unicode.h"

namespace revenant {

extern const char* const view_page;  // web/view.html, built

namespace {

using nlohmann::json;

constexpr int most_pixels_a_side = 896;  // of a picture inside the page

struct Args {
  SpeakArgs speak;
  std::string prompt;
  Path output = "view.html", json_file;
  bool heads = false;
};

std::string data_uri(const Image& image) {
  const double shrink =
      std::min(1.0, double(most_pixels_a_side) / double(std::max(image.width, image.height)));
  const auto side = [&](int n) { return std::max(1, int(n * shrink + 0.5)); };
  const Image small =
      shrink < 1 ? resize_bicubic(image, side(image.width), side(image.height)) : image;
  return "data:image/png;base64," + base64(encode_png(small));
}

// No character of it can end a script element or begin a comment.
std::string inside_script(const json& value) {
  std::string out;
  for (const char c : json_text(value)) {
    if (c == '<' || c == '>' || c == '&') {
      constexpr char digits[] = "0123456789abcdef";
      out += std::string("\\u00") + digits[c >> 4] + digits[c & 15];
    } else {
      out += c;
    }
  }
  return out;
}

std::string page_of(json value, std::span<const Image> pictures) {
  for (size_t i = 0; i < pictures.size(); ++i)
    value["pictures"][i]["image"] = data_uri(pictures[i]);
  std::string page = view_page;
  constexpr std::string_view mark = "@LOOK@";
  return page.replace(page.find(mark), mark.size(), inside_script(value));
}

json gather(const Model& model, const Args& args, std::span<const Image> pictures) {
  const Speech& speech = model.speech();
  const Pictures encoded = model.encode(pictures);
  const Turn turn{args.prompt, int(pictures.size()), ""};
  const EncodedPrompt prompt = encode_prompt(
      speech.tokenizer, speech.rule, chat_pieces(speech.rule, std::span(&turn, 1)), encoded.tokens);
  const Look seen = look(model, prompt.ids, encoded.features,
                         {args.speak.sampling, room_for_answer(args.speak, int(prompt.ids.size())),
                          speech.stop_ids, args.heads});
  if (const std::string warning = length_warning(model.config(), int(seen.ids.size()));
      !warning.empty())
    tell_warnings({warning});
  LookAbout about;
  const Path directory = std::filesystem::absolute(args.speak.model.directory).lexically_normal();
  about.name = (directory.has_filename() ? directory : directory.parent_path()).filename().string();
  about.question = args.prompt;
  for (const Image& picture : pictures) about.sizes.emplace_back(picture.width, picture.height);
  about.spans = prompt.picture_spans;
  return look_json(model, seen, about);
}

void view(const Args& args) {
  const Stopwatch watch;
  if (args.prompt.empty()) throw Error("view", "prompt", "text by -p", "nothing");
  const Model model(args.speak.model.directory, args.speak.model.options);
  tell_warnings(model.warnings());
  model.speech();  // what is wrong with the tokenizer is said before any work is done
  std::vector<Image> pictures;
  for (const Path& image : args.speak.images)
    pictures.push_back(read_image(image, args.speak.reading));
  const json seen = gather(model, args, pictures);
  write_file(through_links(args.output), page_of(seen, pictures));
  if (args.json_file == "-") {
    say(json_text(seen) + "\n");
  } else {
    if (!args.json_file.empty()) write_file(through_links(args.json_file), json_text(seen) + "\n");
    say(seen["answer"].get<std::string>() + "\n");
  }
  if (args.speak.verbose)
    std::fprintf(stderr, "%zu tokens, %.3f s; page: %s\n", seen["tokens"].size(), watch.seconds(),
                 args.output.c_str());
}

}  // namespace

void add_view(CLI::App& app) {
  auto args = std::make_shared<Args>();
  args->speak.max_new_tokens = 64;
  CLI::App* command = app.add_subcommand(
      "view", "Answers one question and shows gates, ghosts and attention on a page");
  add_speak_options(*command, args->speak);
  command->add_option("-p,--prompt", args->prompt, "the question, plain text")->required();
  command->add_option("-o,--output", args->output, "HTML file, complete in itself")
      ->transform(at_home)
      ->capture_default_str();
  command->add_option("--json", args->json_file, "the numbers too; -: to stdout, not the answer")
      ->transform(at_home);
  command->add_flag("--heads", args->heads, "attention of every head, not only their mean (large)");
  command->footer(
      "Example: revenant view -m MODEL --image cat.jpg -p \"What is this?\" -o view.html");
  command->callback([args] { view(*args); });
}

}  // namespace revenant
