// What a client is told when it gets no answer, in the four fields of OpenAI's errors.
#pragma once

#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace revenant {

struct Failure : std::runtime_error {
  int status;                     // of HTTP
  std::string type, param, code;  // param and code: empty where there is none
  int retry_after = 0;            // seconds; 0: nothing is said of it

  Failure(int http_status, const std::string& message, const std::string& what_code = "",
          const std::string& part = "");
};

// 400: `part` is the path to it within the request ("messages[0].content").
Failure invalid(const std::string& part, const std::string& message,
                const std::string& code = "invalid_value");

nlohmann::json error_json(const Failure& failure);

}  // namespace revenant
