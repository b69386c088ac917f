# gantry_library(NAME SRCS a.cc b.cc [DEPS x y])            static library, one per folder or concept
# gantry_binary(NAME SRCS main.cc [DEPS x] [STATIC])        program in build/bin; STATIC: no shared library
# gantry_test(NAME SRCS x_test.cc [DEPS y] [ROOT] [LABELS]) GoogleTest program, one ctest entry a program
#   ROOT     needs root and real kernel objects; labelled `root`, else `unit`
#   LABELS   more ctest labels (integration, security, conformance, crash, …)
# gantry_test_again(NAME OF x_test ENVIRONMENT A=b …)       one more ctest entry of a program
add_compile_options(-Wall -Wextra -Werror -Wno-missing-field-initializers -fno-strict-aliasing
                    -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)
add_link_options(-fuse-ld=mold)
if(GANTRY_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
elseif(GANTRY_SANITIZE STREQUAL "fuzzer")
  # clang, against libraries that g++ has built: its warnings are not ours.
  add_compile_options(-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
                      -fno-omit-frame-pointer -Wno-error)
  add_link_options(-fsanitize=address,undefined)
elseif(GANTRY_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
  add_link_options(-fsanitize=thread)
endif()

function(gantry_library name)
  cmake_parse_arguments(A "" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${A_SRCS})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${A_DEPS} PRIVATE ${A_PRIVATE_DEPS})
endfunction()

function(gantry_binary name)
  cmake_parse_arguments(A "STATIC" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${A_SRCS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${A_DEPS})
  if(A_STATIC AND NOT GANTRY_SANITIZE)  # the sanitizers need a dynamic libc
    target_link_options(${name} PRIVATE -static)
  else()
    target_link_options(${name} PRIVATE -static-libstdc++ -static-libgcc)
  endif()
endfunction()

function(gantry_test name)
  if(NOT GANTRY_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "ROOT" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${A_SRCS})
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PRIVATE ${A_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(A_ROOT)
    set(labels root ${A_LABELS})
  else()
    set(labels unit ${A_LABELS})
  endif()
  if(NOT A_TIMEOUT)
    set(A_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${labels}" TIMEOUT ${A_TIMEOUT}
    ENVIRONMENT "GANTRY_BIN_DIR=${CMAKE_BINARY_DIR}/bin;GANTRY_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
endfunction()

function(gantry_test_again name)
  cmake_parse_arguments(A "" "OF" "ENVIRONMENT" ${ARGN})
  add_test(NAME ${name} COMMAND ${A_OF} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  foreach(property LABELS TIMEOUT ENVIRONMENT)
    get_test_property(${A_OF} ${property} value)
    if(property STREQUAL "ENVIRONMENT")
      list(APPEND value ${A_ENVIRONMENT})
    endif()
    set_tests_properties(${name} PROPERTIES ${property} "${value}")
  endforeach()
endfunction()
