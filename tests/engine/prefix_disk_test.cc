// What a beginning that comes from the disk is known to be.
#include <gtest/gtest.h>

#include "base/disk_cache.h"
#include "engine/prefix.h"
#include "support/temporary.h"

namespace revenant {
namespace {

// Whether its ghosts count is the first row's to say, which is not computed again.
TEST(PrefixOnDisk, KeepsWhatItsFirstRowDecides) {
  const Model model(Path(REVENANT_SOURCE_DIR) / "tests/conformance/data/phantom-0.5b",
                    {{"revenant.phantom_eta=1e-9"}, 2});
  const Temporary folder;
  DiskCache disk({.directory = folder.path / "cache"});
  std::vector<int> ids;
  for (int i = 0; i < 100; ++i) ids.push_back(5 + i % 40);
  std::vector<float> bounds;
  {
    Session session(model);
    session.feed(ids);
    for (int layer = 0; layer < model.config().layers; ++layer)
      bounds.push_back(session.sequence().anchor(layer).ghosts_add);
    EXPECT_TRUE(session.sequence().anchor(0).quiet()) << bounds[0];
    Prefixes(model, &disk).keep(session);
  }
  disk.flush();
  Session session(model);
  session.put(ids);
  Prefixes(model, &disk).extend(session);
  ASSERT_EQ(session.cached(), 64);
  for (int layer = 0; layer < model.config().layers; ++layer)
    EXPECT_EQ(session.sequence().anchor(layer).ghosts_add, bounds[size_t(layer)]);
}

}  // namespace
}  // namespace revenant
