// What `trace` and `conformance` do, for either backend: `revenant` runs them on the native
// executor, `revenant-train` on torch.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>

#include "base/file.h"
#include "trace/trace.h"

namespace revenant {

struct TraceOptions {
  std::vector<std::string> settings;  // over config.json
  std::string device = "cpu";         // or "cuda", which only torch knows
};

// Opens a model directory for tracing.
using OpenTraced = std::function<std::unique_ptr<Traced>(const Path&, const TraceOptions&)>;

// `become_torch` is called for `--backend torch`; it may do nothing where this is the torch
// program.
void add_trace_command(CLI::App& app, const OpenTraced& open,
                       const std::function<void()>& become_torch);
// Throws Exit{1} if a comparison fails.
void add_conformance_command(CLI::App& app, const OpenTraced& open,
                             const std::function<void()>& become_torch);

}  // namespace revenant
