# libtorch as people have it: REVENANT_TORCH_ROOT, the project's .venv, or the torch of python3.
# PyPI's Linux wheel is a CUDA build whose own CMake config refuses to load where no CUDA toolkit is,
# so the CPU libraries are imported by path (design.md, section 6).
set(REVENANT_TORCH_ROOT "" CACHE PATH "The directory `torch` of a libtorch or a Python package")
file(GLOB venv_torch ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
set(torch_root ${REVENANT_TORCH_ROOT})
if(NOT torch_root)
  set(torch_root ${venv_torch})
endif()
if(NOT torch_root)
  execute_process(COMMAND python3 -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
                  OUTPUT_VARIABLE torch_root OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT EXISTS ${torch_root}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "libtorch 2.x not found. Run `tools/install.sh test`, set REVENANT_TORCH_ROOT, "
                      "or configure with -DREVENANT_TORCH=OFF (no training).")
endif()
message(STATUS "libtorch: ${torch_root}")

file(GLOB cuda_libs ${torch_root}/../nvidia/cu*/lib ${torch_root}/../nvidia/cuda_runtime/lib
                    ${torch_root}/../nvidia/cuda_cupti/lib)
add_library(libtorch INTERFACE)
target_include_directories(libtorch SYSTEM INTERFACE ${torch_root}/include
                                                     ${torch_root}/include/torch/csrc/api/include)
target_link_options(libtorch INTERFACE -Wl,--disable-new-dtags)
target_link_libraries(libtorch INTERFACE ${torch_root}/lib/libtorch_cpu.so ${torch_root}/lib/libc10.so)
foreach(place ${torch_root}/lib ${cuda_libs})
  target_link_options(libtorch INTERFACE -Wl,-rpath,${place} -Wl,-rpath-link,${place})
endforeach()
