// revenant bench: how fast a model runs here, as a share of what the machine can do.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/json.h"
#include "cli/bench_server.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/rows.h"
#include "engine/sampling.h"
#include "engine/session.h"
#include "kernels/limits.h"

namespace revenant {
namespace {

using nlohmann::json;

constexpr int usual_depth = 16;  // which rows do not name

struct Args {
  ModelArgs model;
  std::vector<int> prompts = {24, 512}, steps = {64}, depths = {usual_depth}, batches = {1},
                   threads = {0};
  int repetitions = 5;
  bool no_tower = false, json = false;
  std::string output = "table";
  ServerBench server;
};

double seconds(const std::function<void()>& work) {
  const Stopwatch watch;
  work();
  return watch.seconds();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// What the products of one token cost; a prompt's token passes through a TroL's layers more than
// once, a generated one's bytes do not. Of the output, and of the last layer what follows its keys
// and values, only the bytes: a prompt needs one row of them.
struct Cost {
  double operations = 0, bytes = 0;
  Input input = Input::f32;  // of the layers

  void add(const Weight& w) {
    operations += 2.0 * w.packed.rows * w.packed.columns;
    bytes += double(w.packed.bytes());
  }
};

Cost cost_of(const Weights<Weight>& w, int passes) {
  Cost cost;
  for (const LayerWeights<Weight>& l : w.layers) {
    for (const Linear<Weight>* linear : {&l.attention.q, &l.attention.k, &l.attention.v})
      cost.add(linear->weight);
    const double before = cost.operations;
    for (const Linear<Weight>* linear : {&l.attention.o, &l.mlp.gate, &l.mlp.up, &l.mlp.down})
      cost.add(linear->weight);
    if (&l == &w.layers.back() && passes == 1) cost.operations = before;
  }
  cost.operations *= passes;
  cost.bytes += double(w.output.weight.packed.bytes());
  cost.input = w.layers.front().mlp.up.weight.packed.view(0, 1).input();
  return cost;
}

// Of one tile: its products, and attention over all its tokens.
Cost cost_of_tower(const Config& c, const Weights<Weight>& w) {
  Cost layer, all;
  const TowerLayer<Weight>& l = w.tower.layers.front();
  for (const Linear<Weight>* linear : {&l.q, &l.k, &l.v, &l.o, &l.up, &l.down})
    layer.add(linear->weight);
  const double tokens = 1 + double(c.vision.grid()) * c.vision.grid();
  const double attention = 4 * tokens * tokens * c.vision.hidden;
  all.operations = double(w.tower.layers.size()) * (tokens * layer.operations + attention);
  all.input = l.up.weight.packed.view(0, 1).input();
  return all;
}

// Any ids but that of a picture's row.
std::vector<int> ids_for(const Model& model, int count) {
  std::vector<int> ids;
  for (int i = 0; int(ids.size()) < count; ++i)
    if (const int id = (i * 7919 + 13) % model.config().vocab; id != model.image_token())
      ids.push_back(id);
  return ids;
}

// What must be done at least, operations or bytes, and the limit that it is held against.
struct Least {
  double amount = 0;
  double Limits::*limit = nullptr;
};

class Bench {
 public:
  Bench(const Args& args, int threads) : args_(args) {
    ModelOptions options = args.model.options;
    options.threads = threads;
    const double loading =
        seconds([&] { model_ = std::make_unique<Model>(args.model.directory, options); });
    threads_ = std::make_unique<Threads>(threads);
    limits_ = measure_limits(kernels(), *threads_);
    cost_ = cost_of(model_->native().weights, model_->config().trol.streams());
    add("load", 1, {loading}, 1, "models/s");
  }

  json rows() {
    for (const int count : args_.prompts) {
      prompt(count, 0);
      for (const int depth : args_.depths)
        if (depth != usual_depth) prompt(count, depth);
    }
    for (const int steps : args_.steps)
      for (const int depth : args_.depths)
        for (const int batch : args_.batches) generate(steps, depth, batch);
    sample();
    if (!args_.no_tower && model_->config().vision.kind != Tower::none) {
      tower();
      if (model_->image_token() >= 0) question();
    }
    // Machines that are lent wander while one measures: the limit is the better of before and
    // after.
    const Limits after = measure_limits(kernels(), *threads_);
    for (size_t i = 0; i < rows_.size(); ++i)
      if (const Least& least = least_[i]; least.amount > 0) {
        const double most = std::max(limits_.*least.limit, after.*least.limit);
        if (most > 0)
          rows_[i]["fraction_of_limit"] = least.amount / most / rows_[i]["seconds"].get<double>();
      }
    return rows_;
  }

 private:
  // The end of a prompt whose first `depth` tokens are cached.
  void prompt(int count, int depth) {
    const std::vector<int> ids = ids_for(*model_, depth + count);
    const std::span<const int> all = ids, before = all.first(size_t(depth));
    std::vector<double> times;
    for (int r = 0; r < args_.repetitions; ++r) {
      Session session(*model_);
      if (depth > 0) session.feed(before, {}, depth + count);
      times.push_back(seconds([&] { session.feed(all.subspan(before.size())); }));
    }
    add(behind("pp" + std::to_string(count), depth), 1, times, count, "tokens/s",
        {cost_.operations * count, peak(cost_.input)});
  }

  void generate(int steps, int depth, int batch) {
    const std::vector<int> ids = ids_for(*model_, depth);
    std::vector<double> times;
    for (int r = 0; r < args_.repetitions; ++r) {
      std::vector<Session> sessions;
      sessions.reserve(size_t(batch));
      for (int b = 0; b < batch; ++b) sessions.emplace_back(*model_);
      std::vector<Session*> pointers;
      for (Session& session : sessions) session.feed(ids), pointers.push_back(&session);
      const std::vector<int> next(sessions.size(), ids[0]);
      times.push_back(seconds([&] {
        for (int i = 0; i < steps; ++i) Session::step(pointers, next);
      }));
    }
    const double cache = double(model_->pages()->shape().token_bytes());
    const double bytes = steps * (cost_.bytes + batch * cache * (depth + steps / 2.0));
    add(behind("tg" + std::to_string(steps), depth), batch, times, double(steps) * batch,
        "tokens/s", {bytes, &Limits::read});
  }

  static std::string behind(const std::string& test, int depth) {
    return depth == 0 || depth == usual_depth ? test : test + "@d" + std::to_string(depth);
  }

  // The slowest of some settings, of likely and of equal tokens.
  void sample() {
    Random random(1);
    std::vector<float> likely(size_t(model_->config().vocab)), equal(likely);
    for (float& x : likely) x = 3 * float(random.normal());
    std::vector<int> seen;
    for (int i = 0; i < 200; ++i) seen.push_back(int(random.below(likely.size())));
    const Sampling settings[] = {{.repetition_penalty = 1.1},
                                 {.temperature = 1},
                                 {.temperature = 1, .top_k = 40},
                                 {.temperature = 1, .top_p = 0.95},
                                 {.temperature = 1, .min_p = 0.05},
                                 {.repetition_penalty = 1.1,
                                  .temperature = 0.7,
                                  .top_k = int(likely.size() / 2),
                                  .top_p = 0.95,
                                  .min_p = 1e-6}};
    std::vector<double> slowest;
    for (const Sampling& one : settings)
      for (const auto* logits : {&likely, &equal}) {
        std::vector<double> times;
        for (int r = 0; r < std::max(5, args_.repetitions); ++r)
          times.push_back(seconds([&] { pick(one, *logits, seen, random); }));
        if (slowest.empty() || median(times) > median(slowest)) slowest = times;
      }
    add("sample", 1, slowest, 1, "tokens/s");
  }

  // One tile, some words, and an answer: until its first token is there, and to its end.
  void question() {
    const int side = model_->config().vision.image;
    const Image picture = blank_image(side, side, 128);
    std::vector<int> ids(size_t(model_->config().tokens_per_tile()), model_->image_token());
    const std::vector<int> words = ids_for(*model_, 24);
    ids.insert(ids.end(), words.begin(), words.end());
    const int most = std::ranges::max(args_.steps);
    std::map<int, std::vector<double>> times;  // until so many tokens are there
    for (int r = 0; r < args_.repetitions; ++r) {
      const Stopwatch watch;
      Session session(*model_);
      session.feed(ids, model_->encode_tiles({&picture, 1}));
      for (int tokens = 1; tokens <= most; ++tokens) {
        if (tokens > 1) session.step(words[0]);
        times[tokens].push_back(watch.seconds());
      }
    }
    add("ttft", 1, times[1], 1, "answers/s");
    for (const int steps : args_.steps)
      add("question" + std::to_string(steps), 1, times[steps], steps, "tokens/s");
  }

  void tower() {
    const int side = model_->config().vision.image;
    const Image picture = blank_image(side, side, 128);
    const TileRule rule = model_->tile_rule();
    const std::vector<float> pixels = normalise({&picture, 1}, rule);
    std::vector<double> times;
    for (int r = 0; r < args_.repetitions; ++r)
      times.push_back(seconds([&] { see(model_->native(), pixels, 1, rule.size); }));
    const Cost cost = cost_of_tower(model_->config(), model_->native().weights);
    add("tower", 1, times, 1, "tiles/s", {cost.operations, peak(cost.input)});
  }

  static double Limits::*peak(Input input) {
    return input == Input::f32    ? &Limits::f32
           : input == Input::bf16 ? &Limits::bf16
                                  : &Limits::int8;
  }

  void add(const std::string& test, int batch, const std::vector<double>& times, double items,
           const char* unit, const Least& least = {}) {
    const double took = median(times);
    rows_.push_back({{"test", test},
                     {"threads", threads_ ? threads_->count() : args_.threads.front()},
                     {"batch", batch},
                     {"isa", kernels().isa},
                     {"weights", weights()},
                     {"repetitions", times.size()},
                     {"seconds", took},
                     {"median", items / took},
                     {"unit", unit},
                     {"fraction_of_limit", nullptr}});
    least_.push_back(least);
  }
  std::string weights() const {
    return info(model_->native().weights.layers.front().mlp.up.weight.packed.format).name;
  }

  const Args& args_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Threads> threads_;
  Limits limits_;
  Cost cost_;
  json rows_ = json::array();
  std::vector<Least> least_;  // of the rows
};

void bench(const Args& args) {
  const std::string form = args.json ? "json" : args.output;
  if (!args.server.words.server.empty())
    return bench_server(args.server, args.prompts, args.steps, args.repetitions, form);
  json rows = json::array();
  for (const int threads : args.threads)
    for (const json& row : Bench(args, threads).rows()) rows.push_back(row);
  const char* const columns[] = {"test",        "threads", "batch",  "isa",  "weights",
                                 "repetitions", "seconds", "median", "unit", "fraction_of_limit"};
  print_rows(rows, columns, form);
}

void check_args(const CLI::App& command, Args& args) {
  const bool server = command.count("--server") > 0;
  check_where(
      command, server,
      {"--api-key-env", "--api-key-file", "--body", "--timeout", "--clients", "--image"},
      {"--threads", "--config-set", "--cache-type", "--cache-memory", "--weights", "--traverse",
       "--passes", "--traverse-threshold", "--depth", "--batch", "--no-tower"});
  args.server.words.model = args.model.directory.string();
}

}  // namespace

void add_bench(CLI::App& app) {
  auto args = std::make_shared<Args>();
  CLI::App* command =
      app.add_subcommand("bench", "How fast a model runs, as a share of the machine's limits");
  const auto numbers = [&](const char* name, std::vector<int>& values, int least,
                           const char* help) {
    command->add_option(name, values, help)
        ->delimiter(',')
        ->check(CLI::Range(least, 1 << 20))
        ->capture_default_str();
  };
  add_model_options(*command, args->model, false);
  command->get_option("--model")->required(false);
  numbers("-t,--threads", args->threads, 0, "each of these; 0: as many as the machine has");
  numbers("-p,--prompt", args->prompts, 1, "lengths of prompts; words, where a server is asked");
  numbers("-n,--predict", args->steps, 1, "tokens to generate");
  numbers("-d,--depth", args->depths, 1,
          "tokens that stand before those that are generated, or before a prompt's last ones");
  numbers("-b,--batch", args->batches, 1, "sequences that generate at once");
  command
      ->add_option("-r,--repetitions", args->repetitions,
                   "the median of so many counts; of each client's answers, all")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--no-tower", args->no_tower, "leaves the vision tower out");
  command->add_option("-o,--output", args->output, "table, csv or json")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  command->add_flag("--json", args->json, "-o json");
  add_server_bench(*command, args->server);
  command->footer(
      "Rows: load, pp512 (a prompt of 512 tokens), tg64 (64 generated), tg64@d2048 (behind 2,048 "
      "others),\n"
      "pp24@d282 (the last 24 of a prompt), sample (a token drawn, under the slowest settings), "
      "tower\n"
      "(one tile), ttft (a question of one tile and 24 words, to its first token), question64 (to "
      "its\n"
      "64th).\n"
      "fraction_of_limit is measured in the same run: of a prompt or tile its products' "
      "operations\n"
      "over the peak of the instructions they use, of generated tokens the bytes of weights and\n"
      "cache over the rate of reading memory.\n"
      "Example: revenant bench -m MODEL --weights Q8_0 -p 24,512 -n 64 -b 1,8 -t 1,2\n"
      "With --server any server of OpenAI's routes is asked, -m its model's name there: so many\n"
      "answers of each client, streamed; times in ms to the first token (ttft), between two (itl)\n"
      "and to the end (e2e). docs/serve.md\n"
      "Example: revenant bench --server http://127.0.0.1:8080 --clients 1,4,8,16 -p 128 -n 64");
  command->callback([args, command] {
    check_args(*command, *args);
    bench(*args);
  });
}

}  // namespace revenant
