#include "serve/failure.h"

namespace revenant {
namespace {

// The names that llama-server has given them, which clients know.
const char* type_of(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
  }
  return status >= 500 ? "server_error" : "invalid_request_error";
}

nlohmann::json or_null(const std::string& text) {
  return text.empty() ? nlohmann::json() : nlohmann::json(text);
}

}  // namespace

Failure::Failure(int http_status, const std::string& message, const std::string& what_code,
                 const std::string& part)
    : std::runtime_error(message),
      status(http_status),
      type(type_of(http_status)),
      param(part),
      code(what_code) {}

Failure invalid(const std::string& part, const std::string& message, const std::string& code) {
  return Failure(400, part.empty() ? message : part + ": " + message, code, part);
}

nlohmann::json error_json(const Failure& failure) {
  return {{"error",
           {{"message", failure.what()},
            {"type", failure.type},
            {"param", or_null(failure.param)},
            {"code", or_null(failure.code)}}}};
}

}  // namespace revenant
