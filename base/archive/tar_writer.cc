#include "base/archive/tar_writer.h"

#include <algorithm>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/archive/tar_format.h"
#include "base/status.h"

namespace gantry::archive {
namespace {

char TypeFlag(TarType type) {
  switch (type) {
    case TarType::kRegular:
      return '0';
    case TarType::kHardLink:
      return '1';
    case TarType::kSymlink:
      return '2';
    case TarType::kCharDevice:
      return '3';
    case TarType::kBlockDevice:
      return '4';
    case TarType::kDirectory:
      return '5';
    case TarType::kFifo:
      return '6';
  }
  return '0';
}

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0; });
}

bool FitsOctal(int64_t value, TarField field) {
  return value >= 0 && value < (int64_t{1} << (3 * (field.size - 1)));
}

void PutText(std::string* block, TarField field, absl::string_view text) {
  text = text.substr(0, field.size);
  std::copy(text.begin(), text.end(), block->begin() + static_cast<ptrdiff_t>(field.offset));
}

// Zero-padded octal with a NUL at the end; what does not fit stands in the pax header and is 0
// here.
void PutOctal(std::string* block, TarField field, int64_t value) {
  if (!FitsOctal(value, field)) value = 0;
  PutText(block, field, absl::StrFormat("%0*o", static_cast<int>(field.size - 1), value));
}

// Divides a name at a slash into ustar's prefix and name.
bool SplitName(absl::string_view name, absl::string_view* prefix, absl::string_view* rest) {
  *prefix = {};
  *rest = name;
  if (name.size() <= kNameField.size) return true;
  if (name.size() > kPrefixField.size + 1 + kNameField.size) return false;
  size_t slash = name.rfind('/', std::min(kPrefixField.size, name.size() - 2));
  if (slash == absl::string_view::npos || slash == 0) return false;
  *prefix = name.substr(0, slash);
  *rest = name.substr(slash + 1);
  return rest->size() <= kNameField.size;
}

std::string PaxRecordsFor(const TarEntry& entry) {
  std::map<std::string, std::string> records;
  absl::string_view prefix, rest;
  if (!IsAscii(entry.name) || !SplitName(entry.name, &prefix, &rest)) records["path"] = entry.name;
  if (!IsAscii(entry.link_name) || entry.link_name.size() > kLinkField.size)
    records["linkpath"] = entry.link_name;
  if (!IsAscii(entry.user_name) || entry.user_name.size() >= kUserField.size)
    records["uname"] = entry.user_name;
  if (!IsAscii(entry.group_name) || entry.group_name.size() >= kGroupField.size)
    records["gname"] = entry.group_name;
  if (!FitsOctal(entry.uid, kUidField)) records["uid"] = absl::StrCat(entry.uid);
  if (!FitsOctal(entry.gid, kGidField)) records["gid"] = absl::StrCat(entry.gid);
  if (!FitsOctal(entry.size, kSizeField)) records["size"] = absl::StrCat(entry.size);
  if (!FitsOctal(entry.mtime.tv_sec, kMtimeField) || entry.mtime.tv_nsec != 0)
    records["mtime"] = FormatPaxTime(entry.mtime);
  if (!FitsOctal(entry.dev_major, kMajorField))
    records["SCHILY.devmajor"] = absl::StrCat(entry.dev_major);
  if (!FitsOctal(entry.dev_minor, kMinorField))
    records["SCHILY.devminor"] = absl::StrCat(entry.dev_minor);
  for (const auto& [name, value] : entry.xattrs)
    records[absl::StrCat("SCHILY.xattr.", name)] = value;
  std::string text;
  for (const auto& [key, value] : records) text += FormatPaxRecord(key, value);
  return text;
}

std::string HeaderBlock(const TarEntry& entry, char type, absl::string_view name, int64_t size) {
  std::string block(kTarBlock, '\0');
  absl::string_view prefix, rest;
  if (!SplitName(name, &prefix, &rest)) {
    prefix = {};
    rest = name;
  }
  PutText(&block, kNameField, rest);
  PutText(&block, kPrefixField, prefix);
  PutOctal(&block, kModeField, entry.mode & 07777);
  PutOctal(&block, kUidField, entry.uid);
  PutOctal(&block, kGidField, entry.gid);
  PutOctal(&block, kSizeField, size);
  PutOctal(&block, kMtimeField, entry.mtime.tv_sec);
  block[kTypeOffset] = type;
  PutText(&block, kLinkField, entry.link_name);
  PutText(&block, kMagicField, absl::string_view("ustar\00000", 8));
  PutText(&block, kUserField, absl::string_view(entry.user_name).substr(0, kUserField.size - 1));
  PutText(&block, kGroupField, absl::string_view(entry.group_name).substr(0, kGroupField.size - 1));
  PutOctal(&block, kMajorField, entry.dev_major);
  PutOctal(&block, kMinorField, entry.dev_minor);
  PutText(&block, kChecksumField, absl::StrFormat("%06o", ComputeChecksum(block)));
  block[kChecksumField.offset + 6] = '\0';
  block[kChecksumField.offset + 7] = ' ';
  return block;
}

int PaddingOf(int64_t size) { return static_cast<int>(-size & (kTarBlock - 1)); }

absl::Status CheckEntry(const TarEntry& entry) {
  bool has_nul = absl::StrContains(entry.name, '\0') || absl::StrContains(entry.link_name, '\0') ||
                 absl::StrContains(entry.user_name, '\0') ||
                 absl::StrContains(entry.group_name, '\0');
  if (has_nul) return absl::InvalidArgumentError("tar: NUL in a name");
  if (entry.name.empty()) return absl::InvalidArgumentError("tar: entry without a name");
  if (entry.size < 0) return absl::InvalidArgumentError("tar: negative size");
  for (const auto& [name, value] : entry.xattrs) {
    if (name.empty() || absl::StrContains(name, '\0') || absl::StrContains(name, '=')) {
      return absl::InvalidArgumentError("tar: extended attribute that pax cannot name");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TarWriter::AddEntry(const TarEntry& entry) {
  if (remaining_ != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("tar: the entry before lacks ", remaining_, " bytes"));
  }
  GANTRY_RETURN_IF_ERROR(CheckEntry(entry));
  GANTRY_RETURN_IF_ERROR(Pad());
  std::string records = PaxRecordsFor(entry);
  if (!records.empty()) GANTRY_RETURN_IF_ERROR(WritePaxHeader(entry, records));
  int64_t size = entry.type == TarType::kRegular ? entry.size : 0;
  GANTRY_RETURN_IF_ERROR(out_(HeaderBlock(entry, TypeFlag(entry.type), entry.name, size)));
  remaining_ = size;
  padding_ = PaddingOf(size);
  return absl::OkStatus();
}

absl::Status TarWriter::WritePaxHeader(const TarEntry& entry, absl::string_view records) {
  TarEntry header;
  header.mode = 0644;
  // The name is for readers that do not know pax headers and unpack them as files.
  absl::string_view name = entry.name;
  while (absl::EndsWith(name, "/")) name.remove_suffix(1);
  name = name.substr(name.rfind('/') + 1);
  header.name = "PaxHeaders.0/";
  for (char c : name.substr(0, 80)) header.name.push_back(c > 0 ? c : '_');
  int64_t size = static_cast<int64_t>(records.size());
  GANTRY_RETURN_IF_ERROR(out_(HeaderBlock(header, 'x', header.name, size)));
  GANTRY_RETURN_IF_ERROR(out_(records));
  padding_ = PaddingOf(size);
  return Pad();
}

absl::Status TarWriter::Write(absl::string_view data) {
  if (static_cast<int64_t>(data.size()) > remaining_) {
    return absl::InvalidArgumentError("tar: more content than the size of the entry");
  }
  remaining_ -= static_cast<int64_t>(data.size());
  return out_(data);
}

absl::Status TarWriter::Pad() {
  static constexpr char kZeros[kTarBlock] = {};
  int padding = std::exchange(padding_, 0);
  if (padding == 0) return absl::OkStatus();
  return out_(absl::string_view(kZeros, static_cast<size_t>(padding)));
}

absl::Status TarWriter::Finish() {
  if (remaining_ != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("tar: the last entry lacks ", remaining_, " bytes"));
  }
  GANTRY_RETURN_IF_ERROR(Pad());
  return out_(std::string(2 * kTarBlock, '\0'));
}

}  // namespace gantry::archive
