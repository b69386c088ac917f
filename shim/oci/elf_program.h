#ifndef GANTRY_SHIM_OCI_ELF_PROGRAM_H_
#define GANTRY_SHIM_OCI_ELF_PROGRAM_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace gantry::oci {

// What the headers of a program say. The file is the image's: every size and offset is checked.
struct ElfProgram {
  uint16_t machine = 0;
  std::string interpreter;             // PT_INTERP; empty: none, or not 64-bit
  std::vector<std::string> libraries;  // DT_NEEDED
  std::vector<std::string> run_path;   // DT_RUNPATH or DT_RPATH, split at ':'
};

// Nothing when `fd` is no ELF file.
std::optional<ElfProgram> ReadElf(int fd);

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_ELF_PROGRAM_H_
