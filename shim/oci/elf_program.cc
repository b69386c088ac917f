#include "shim/oci/elf_program.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_split.h"

namespace gantry::oci {
namespace {

constexpr size_t kMaxHeaders = 64;
constexpr size_t kMaxDynamic = 1024;
constexpr size_t kMaxName = 4096;

template <typename T>
bool ReadAt(int fd, uint64_t offset, T* out) {
  return offset < INT64_MAX &&
         pread(fd, out, sizeof *out, static_cast<off_t>(offset)) == sizeof *out;
}

std::string StringAt(int fd, uint64_t offset) {
  char text[kMaxName];
  if (offset >= INT64_MAX) return {};
  ssize_t n = pread(fd, text, sizeof text - 1, static_cast<off_t>(offset));
  if (n <= 0) return {};
  text[n] = '\0';
  return text;
}

class Reader {
 public:
  Reader(int fd, const Elf64_Ehdr& header) : fd_(fd) {
    if (header.e_phentsize != sizeof(Elf64_Phdr)) return;
    for (size_t i = 0; i < std::min<size_t>(header.e_phnum, kMaxHeaders); ++i) {
      Elf64_Phdr segment;
      if (!ReadAt(fd, header.e_phoff + i * sizeof segment, &segment)) return;
      segments_.push_back(segment);
    }
  }

  std::string Interpreter() const {
    const Elf64_Phdr* segment = Find(PT_INTERP);
    return segment == nullptr ? std::string() : StringAt(fd_, segment->p_offset);
  }

  void Libraries(ElfProgram* program) const {
    const Elf64_Phdr* dynamic = Find(PT_DYNAMIC);
    if (dynamic == nullptr) return;
    std::vector<Elf64_Dyn> entries;
    uint64_t names = 0;
    size_t count = std::min<size_t>(dynamic->p_filesz / sizeof(Elf64_Dyn), kMaxDynamic);
    for (size_t i = 0; i < count; ++i) {
      Elf64_Dyn entry;
      if (!ReadAt(fd_, dynamic->p_offset + i * sizeof entry, &entry) || entry.d_tag == DT_NULL) {
        break;
      }
      if (entry.d_tag == DT_STRTAB) names = FileOffset(entry.d_un.d_ptr);
      entries.push_back(entry);
    }
    if (names == 0) return;
    for (const Elf64_Dyn& entry : entries) {
      if (entry.d_tag == DT_NEEDED) {
        program->libraries.push_back(StringAt(fd_, names + entry.d_un.d_val));
      } else if (entry.d_tag == DT_RUNPATH || entry.d_tag == DT_RPATH) {
        program->run_path = absl::StrSplit(StringAt(fd_, names + entry.d_un.d_val), ':');
      }
    }
  }

 private:
  const Elf64_Phdr* Find(uint32_t type) const {
    for (const Elf64_Phdr& segment : segments_) {
      if (segment.p_type == type) return &segment;
    }
    return nullptr;
  }
  uint64_t FileOffset(uint64_t address) const {
    for (const Elf64_Phdr& s : segments_) {
      if (s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz) {
        return address - s.p_vaddr + s.p_offset;
      }
    }
    return 0;
  }

  int fd_;
  std::vector<Elf64_Phdr> segments_;
};

}  // namespace

std::optional<ElfProgram> ReadElf(int fd) {
  Elf64_Ehdr header = {};
  // A 32-bit header is shorter; what is looked at first lies at the same place in both.
  if (pread(fd, &header, sizeof header, 0) < EI_NIDENT + 4 ||
      memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) {
    return std::nullopt;
  }
  ElfProgram program;
  program.machine = header.e_machine;
  if (header.e_ident[EI_CLASS] != ELFCLASS64) return program;
  Reader reader(fd, header);
  program.interpreter = reader.Interpreter();
  reader.Libraries(&program);
  return program;
}

}  // namespace gantry::oci
