// revenant trace, revenant conformance: the native executor's intermediates, and how they compare
// with the authors', who compute in float32: so is the cache.
#include "cli/commands.h"
#include "cli/trace_command.h"
#include "engine/traced.h"

namespace revenant {
namespace {

std::unique_ptr<Traced> open_native(const Path& directory, const TraceOptions& options) {
  return std::make_unique<NativeTraced>(
      std::make_unique<Model>(directory, ModelOptions{options.settings, 0, Format::f32}));
}

}  // namespace

void add_trace(CLI::App& app) {
  add_trace_command(app, open_native, [] { become_train(); });
}

void add_conformance(CLI::App& app) {
  add_conformance_command(app, open_native, [] { become_train(); });
}

}  // namespace revenant
