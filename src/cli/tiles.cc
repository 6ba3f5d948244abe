// revenant tiles: what the model sees of a picture.
#include <cstdio>
#include <filesystem>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/program.h"
#include "engine/model.h"
#include "image/tiles.h"

namespace revenant {
namespace {

struct Args {
  Path image, output, model;
  TileRule rule;
  ReadOptions reading{.exif = Exif::apply};
};

void show_tiles(const Args& args) {
  TileRule rule = args.rule;
  if (!args.model.empty()) rule = Model(args.model, {{}, 1}).tile_rule();
  const Image image = read_image(args.image, args.reading);
  const Tiles tiles = tile(image, rule);
  if (!args.output.empty())
    write_file(through_links(args.output), encode_png(contact_sheet(tiles)));
  const size_t cells = size_t(tiles.grid.cells());
  std::printf("%d x %d pixels: %d columns x %d rows%s, %zu tile%s of %d pixels\n", image.width,
              image.height, tiles.grid.columns, tiles.grid.rows,
              tiles.tiles.size() > cells ? " and a thumbnail" : "", tiles.tiles.size(),
              tiles.tiles.size() == 1 ? "" : "s", rule.size);
}

}  // namespace

void add_tiles(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command = app.add_subcommand("tiles", "How a picture is cut for the vision tower");
  command->add_option("IMAGE", args->image, "JPEG, PNG or WebP")->required()->transform(at_home);
  command->add_option("-o,--output", args->output, "PNG file that shows the tiles")
      ->transform(at_home);
  CLI::Option* size = command->add_option("--tile", args->rule.size, "pixels a side")
                          ->check(CLI::Range(1, 4096))
                          ->capture_default_str();
  CLI::Option* most =
      command->add_option("--max-tiles", args->rule.max_tiles, "without the thumbnail")
          ->check(CLI::Range(1, 64))
          ->capture_default_str();
  command->add_option("-m,--model", args->model, "take the rule from this model")
      ->transform(at_home)
      ->excludes(size)
      ->excludes(most);
  add_picture_options(*command, args->reading);
  command->footer("Example: revenant tiles cat.jpg -o tiles.png");
  command->callback([args] { show_tiles(*args); });
}

}  // namespace revenant
