# Precompiled headers: most of the time to compile a file went into parsing the same headers of others.
#
# gantry_pch(TARGET common|test|grpc)   the target starts with third_party/pch/KIND.h, which is compiled once, when
#                                       the first target asks for it
# gantry_own_pch(TARGET KIND)           the same for a target with compile options of its own
function(gantry_own_pch target kind)
  if(GANTRY_SANITIZE)  # other flags, fewer files, and warnings that GCC 12 gets wrong then
    return()
  endif()
  target_precompile_headers(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${CMAKE_SOURCE_DIR}/third_party/pch/${kind}.h>)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR})
  # What a compiler cache is told to take for the contents of the compiled header, which differ from one
  # build directory to the next: compiler, flags and the header's text.
  file(GLOB texts ${CMAKE_SOURCE_DIR}/third_party/pch/*.h)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${texts})
  set(content "${target} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_BUILD_TYPE} ${GANTRY_SANITIZE}")
  foreach(text IN LISTS texts)
    file(SHA256 ${text} hash)
    string(APPEND content " ${hash}")
  endforeach()
  get_target_property(dir ${target} BINARY_DIR)
  file(WRITE ${dir}/CMakeFiles/${target}.dir/cmake_pch.hxx.gch.sum "${content}\n")
endfunction()

function(gantry_pch target kind)
  if(GANTRY_SANITIZE)
    return()
  endif()
  if(NOT TARGET gantry_pch_${kind})
    add_library(gantry_pch_${kind} OBJECT ${CMAKE_SOURCE_DIR}/third_party/pch/empty.cc)
    if(kind STREQUAL "test")  # its headers depend on definitions that come with the library
      target_link_libraries(gantry_pch_test PRIVATE GTest::gmock GTest::gtest)
    endif()
    gantry_own_pch(gantry_pch_${kind} ${kind})
  endif()
  target_precompile_headers(${target} REUSE_FROM gantry_pch_${kind})
endfunction()

# gantry_string_alarms(FILE…): where the library's headers are precompiled, GCC 12 warns of std::strings of constant
# length as if they lay in their own 16 bytes (in headers of the system, whose warnings it does not show otherwise).
function(gantry_string_alarms)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "-Wno-array-bounds;-Wno-stringop-overflow")
endfunction()
