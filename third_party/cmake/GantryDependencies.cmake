# Finds the dependencies as Debian 12 packages them; third_party/packages lists the packages.
# gRPC, protobuf, Abseil and RocksDB are linked statically (see third_party/README.md). The linker is
# mold, to which the order of archives does not matter.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(SECCOMP REQUIRED libseccomp)
find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)
if(GANTRY_TESTS)
  find_package(GTest REQUIRED)
endif()

# --- static gRPC without TLS: every gRPC socket of gantry is a unix socket or loopback.
function(gantry_static_archives out)
  set(libs "")
  foreach(name IN LISTS ARGN)
    find_library(GANTRY_A_${name} NAMES lib${name}.a NO_CACHE REQUIRED)
    list(APPEND libs ${GANTRY_A_${name}})
  endforeach()
  set(${out} ${libs} PARENT_SCOPE)
endfunction()

file(GLOB absl_archives /usr/lib/${CMAKE_LIBRARY_ARCHITECTURE}/libabsl_*.a)
if(NOT absl_archives)
  message(FATAL_ERROR "libabsl-dev is missing; see third_party/packages")
endif()
add_library(gantry_absl INTERFACE)
target_link_libraries(gantry_absl INTERFACE ${absl_archives} Threads::Threads)

gantry_static_archives(grpc_archives
  grpc++_unsecure grpc_unsecure gpr upb re2 cares address_sorting z protobuf)
add_library(gantry_grpc_static INTERFACE)
target_link_libraries(gantry_grpc_static INTERFACE
  ${grpc_archives} gantry_absl Threads::Threads dl rt m)

gantry_static_archives(protobuf_lite_archive protobuf-lite)
add_library(gantry_protobuf_lite INTERFACE)
target_link_libraries(gantry_protobuf_lite INTERFACE ${protobuf_lite_archive} Threads::Threads)
gantry_static_archives(protobuf_archive protobuf)
add_library(gantry_protobuf_full INTERFACE)
target_link_libraries(gantry_protobuf_full INTERFACE ${protobuf_archive} Threads::Threads)

gantry_static_archives(rocksdb_archives rocksdb snappy lz4 zstd z bz2)
add_library(gantry_rocksdb INTERFACE)
target_link_libraries(gantry_rocksdb INTERFACE ${rocksdb_archives} Threads::Threads dl)

gantry_static_archives(seccomp_archive seccomp)
add_library(gantry_seccomp INTERFACE)
target_link_libraries(gantry_seccomp INTERFACE ${seccomp_archive})
