// How the tests of this room ask a stand-in.
#pragma once

#include "client/chat.h"
#include "support/reason.h"
#include "support/stand_in.h"

namespace revenant {

using Seconds = HttpLimits::Seconds;

const nlohmann::json hello = {{{"role", "user"}, {"content", "hello"}}};

inline ChatOptions options_for(const StandIn& server) {
  ChatOptions options;
  options.url = parse_url(server.url());
  options.model = "m";
  options.limits.whole = Seconds(10);
  return options;
}

}  // namespace revenant
