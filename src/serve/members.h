// The members of an object of a request, each read by name; what nobody asked for is refused.
#pragma once

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "serve/failure.h"

namespace revenant {

// All throw Failure, 400, that names the member. A member that is null counts as absent.
class Members {
 public:
  // `path` is where the object stands in the request; empty: it is the request.
  explicit Members(const nlohmann::json& object, std::string path = "");

  const nlohmann::json* find(const char* name);
  // Which must be there; `what` is what an error says was expected.
  const nlohmann::json& required(const char* name, const char* what);
  std::string at(const std::string& name) const {
    return path_.empty() ? name : path_ + "." + name;
  }
  std::optional<double> number(const char* name, double least, double most);
  std::optional<int64_t> whole(const char* name, int64_t least, int64_t most);
  std::optional<bool> flag(const char* name);
  std::optional<std::string> text(const char* name);
  // What clients send and this server does in one way only: any of these values, or an error.
  void only(const char* name, std::initializer_list<nlohmann::json> values);
  // What changes nothing here; its path is added to what is told back.
  void pass_over(const char* name, std::vector<std::string>& ignored);
  void refuse_others() const;

 private:
  const nlohmann::json& object_;
  const std::string path_;
  std::set<std::string> known_;
};

}  // namespace revenant
