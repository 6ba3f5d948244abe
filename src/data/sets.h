// The sets themselves: each reads its unpacked sources and fills a writer.
#pragma once

#include "data/make.h"
#include "data/writer.h"

namespace revenant {

// `sources` is DIR/.sources.
void make_easy_vqa(const Path& sources, const MakeOptions& options, SetWriter& writer);
void make_fashion_mnist(const Path& sources, const MakeOptions& options, SetWriter& writer);
void make_emoji(const Path& sources, const MakeOptions& options, SetWriter& writer);
void make_flags(const Path& sources, const MakeOptions& options, SetWriter& writer);
void make_facts(const Path& sources, const MakeOptions& options, SetWriter& writer);
void make_scenes(const Path& sources, const MakeOptions& options, SetWriter& writer);

}  // namespace revenant
