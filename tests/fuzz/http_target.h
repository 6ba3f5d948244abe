// A whole stream of bytes to the server, over a connection.
#pragma once

#include <string_view>

namespace revenant::fuzz {

// The first byte says what the client does after its bytes, the second in which pieces they come
// (`0`: all at once; else as long as its value and one more):
//   s  says nothing more, until the server's patience is over
//   h  closes its half      l  leaves
//   any other: asks for /health, to be the last request, and goes on with more than any limit, so
//   that whatever was left open ends at once
// What comes back must be whole responses and nothing else. Throws Error where one of them is a
// refusal, or the last request had none.
void http(std::string_view bytes);

}  // namespace revenant::fuzz
