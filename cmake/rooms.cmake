# A room is one directory of src/ and one library, named after it. `room(image base)` collects the
# room's *.cc files and links the rooms that it may know; tools/check_includes.py checks the includes.
find_package(Threads REQUIRED)

function(room name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  add_library(revenant_${name} STATIC ${sources})
  target_include_directories(revenant_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src)
  room_options(revenant_${name})
  foreach(other ${ARGN})
    target_link_libraries(revenant_${name} PUBLIC revenant_${other})
  endforeach()
endfunction()

# No contraction by the compiler: FMA is written out where it is meant (design.md, section 4).
function(room_options target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -ffp-contract=off)
  if(REVENANT_WERROR)
    # What gcc 12's optimiser suspects within the library's own strings and vectors stays a warning.
    target_compile_options(${target} PRIVATE -Werror $<$<CXX_COMPILER_ID:GNU>:
      -Wno-error=restrict -Wno-error=stringop-overread -Wno-error=stringop-overflow
      -Wno-error=array-bounds -Wno-error=maybe-uninitialized>)
  endif()
  if(REVENANT_SANITIZE)
    string(REPLACE address address,undefined sanitizers ${REVENANT_SANITIZE})
    target_compile_options(${target} PUBLIC -fsanitize=${sanitizers} -fno-omit-frame-pointer
                                            -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${sanitizers})
  endif()
  if(REVENANT_FUZZ)
    target_compile_options(${target} PUBLIC -fsanitize=fuzzer-no-link)
  endif()
endfunction()

# `room_test(image LABEL unit LIBS image io)` builds test_image from *_test.cc of this directory.
function(room_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT;ENVIRONMENT" "LIBS;FILES" ${ARGN})
  if(NOT ARG_FILES)
    file(GLOB ARG_FILES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*_test.cc)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 600)
  endif()
  add_executable(test_${name} ${ARG_FILES})
  target_include_directories(test_${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  room_options(test_${name})
  foreach(lib ${ARG_LIBS})
    target_link_libraries(test_${name} PRIVATE revenant_${lib})
  endforeach()
  target_link_libraries(test_${name} PRIVATE GTest::gtest_main)
  target_compile_definitions(test_${name} PRIVATE
    REVENANT_SOURCE_DIR="${PROJECT_SOURCE_DIR}" REVENANT_BIN_DIR="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
    $<$<BOOL:${REVENANT_SANITIZE}>:REVENANT_SANITIZED>)
  set(properties LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
  if(ARG_ENVIRONMENT)
    list(APPEND properties ENVIRONMENT ${ARG_ENVIRONMENT})
  endif()
  gtest_discover_tests(test_${name} TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
                       PROPERTIES ${properties})
endfunction()
