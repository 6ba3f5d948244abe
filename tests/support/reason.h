// What went wrong, for tests that look into it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace revenant {

// Of what `work` throws; "none": nothing.
inline std::string reason_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "none";
}

inline void expect_part(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), text.npos) << text;
}

}  // namespace revenant
