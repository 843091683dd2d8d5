# Helpers so that each folder's CMakeLists.txt reads as a list of what it has.

# synthvol_library(NAME SOURCES ... PUBLIC ... PRIVATE ...)
# Makes libsynthvol_NAME, reachable as synthvol::NAME. Includes are written from the root ("imaging/volume.h").
function(synthvol_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(synthvol_${name} STATIC ${ARG_SOURCES})
  add_library(synthvol::${name} ALIAS synthvol_${name})
  target_include_directories(synthvol_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>)
  target_link_libraries(synthvol_${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE} $<BUILD_INTERFACE:synthvol_warnings>)
endfunction()

# synthvol_binary(NAME SOURCES ... LINK ...): a program in build/PRESET/bin.
function(synthvol_binary name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} synthvol_warnings)
endfunction()

# Sets VARIABLE, a test's own limit in seconds or empty, to the limit that ends it when it hangs. It is
# no measure of speed: a loaded machine and a sanitizer both take their time.
function(synthvol_test_timeout variable)
  set(seconds 900)
  if(${variable})
    set(seconds ${${variable}})
  endif()
  if(SYNTHVOL_SANITIZE)
    math(EXPR seconds "${seconds} * 4")
  endif()
  set(${variable} ${seconds} PARENT_SCOPE)
endfunction()

# synthvol_test(NAME SOURCES ... LINK ... [TIMEOUT seconds] [LABELS ...])
# One GoogleTest program and one ctest entry. Tests find real data through SYNTHVOL_SHARED_DIR and
# skip with a clear word where it is absent.
function(synthvol_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT SYNTHVOL_TESTS)
    return()
  endif()
  synthvol_test_timeout(ARG_TIMEOUT)
  add_executable(${name} ${ARG_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_link_libraries(${name} PRIVATE ${ARG_LINK} synthvol_warnings GTest::gtest GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    ENVIRONMENT "SYNTHVOL_SHARED_DIR=${CMAKE_SOURCE_DIR}/../shared;SYNTHVOL_BIN_DIR=${CMAKE_BINARY_DIR}/bin")
endfunction()

# synthvol_script_test(NAME COMMAND ... [TIMEOUT seconds] [LABELS ...]): a test that is a command.
# The environment names the binaries, the shared data and the Python of scripts/setup --tests.
function(synthvol_script_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "COMMAND;LABELS" ${ARGN})
  if(NOT SYNTHVOL_TESTS)
    return()
  endif()
  synthvol_test_timeout(ARG_TIMEOUT)
  add_test(NAME ${name} COMMAND ${ARG_COMMAND} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    SKIP_RETURN_CODE 77
    ENVIRONMENT "SYNTHVOL_SHARED_DIR=${CMAKE_SOURCE_DIR}/../shared;SYNTHVOL_BIN_DIR=${CMAKE_BINARY_DIR}/bin;SYNTHVOL_BUILD_DIR=${CMAKE_BINARY_DIR};SYNTHVOL_DEPS_DIR=${SYNTHVOL_DEPS_DIR};SYNTHVOL_PYTHON=${SYNTHVOL_DEPS_DIR}/venv/bin/python")
endfunction()
