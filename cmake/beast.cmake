# Boost.Beast, for the rooms that speak HTTP: headers only, 1.75 or later.
find_path(BOOST_INCLUDE boost/beast/http.hpp REQUIRED)
add_library(beast INTERFACE)
target_include_directories(beast SYSTEM INTERFACE ${BOOST_INCLUDE})
