#include "base/archive/tar_pax.h"

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/archive/tar_format.h"
#include "base/status.h"

namespace gantry::archive {
namespace {

constexpr absl::string_view kSchilyXattr = "SCHILY.xattr.";
constexpr absl::string_view kLibarchiveXattr = "LIBARCHIVE.xattr.";

// libarchive writes names of xattrs in URL encoding.
absl::StatusOr<std::string> UrlDecode(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size() || !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 1])) ||
        !absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 2]))) {
      return absl::InvalidArgumentError("tar: bad name of a LIBARCHIVE.xattr record");
    }
    out += absl::HexStringToBytes(text.substr(i + 1, 2));
    i += 2;
  }
  return out;
}

absl::Status CheckXattrName(absl::string_view name) {
  if (name.empty() || name.size() > 255 || absl::StrContains(name, '\0')) {
    return absl::InvalidArgumentError("tar: bad name of an extended attribute");
  }
  return absl::OkStatus();
}

absl::Status AddLibarchiveXattr(absl::string_view encoded_name, absl::string_view encoded_value,
                                TarEntry* entry) {
  GANTRY_ASSIGN_OR_RETURN(std::string name, UrlDecode(encoded_name));
  GANTRY_RETURN_IF_ERROR(CheckXattrName(name));
  std::string value;
  if (!absl::Base64Unescape(encoded_value, &value)) {
    return absl::InvalidArgumentError("tar: bad value of a LIBARCHIVE.xattr record");
  }
  // Where both forms stand, they say the same; SCHILY's needs no decoding.
  entry->xattrs.emplace(std::move(name), std::move(value));
  return absl::OkStatus();
}

absl::Status SetId(const std::string* text, uint32_t* id) {
  if (text == nullptr) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(int64_t value, ParsePaxNumber(*text, UINT32_MAX));
  *id = static_cast<uint32_t>(value);
  return absl::OkStatus();
}

}  // namespace

absl::Status PaxRecords::Parse(absl::string_view data, size_t max_segments) {
  return ParsePaxRecords(
      data, [this, max_segments](absl::string_view key, absl::string_view value) -> absl::Status {
        return Add(key, value, max_segments);
      });
}

absl::Status PaxRecords::Add(absl::string_view key, absl::string_view value, size_t max_segments) {
  bool names_something = key == "path" || key == "linkpath" || key == "uname" || key == "gname" ||
                         key == "GNU.sparse.name";
  if (absl::StrContains(key, '\0') || (names_something && absl::StrContains(value, '\0'))) {
    return absl::InvalidArgumentError(absl::StrCat("tar: NUL in pax record ", absl::CEscape(key)));
  }
  if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {
    bool is_offset = key == "GNU.sparse.offset";
    if (is_offset != (sparse_numbers_.size() % 2 == 0)) {
      return absl::InvalidArgumentError("tar: sparse map out of order");
    }
    if (sparse_numbers_.size() >= 2 * max_segments) {
      return absl::ResourceExhaustedError("tar: too many segments of a sparse file");
    }
    GANTRY_ASSIGN_OR_RETURN(int64_t number, ParsePaxNumber(value));
    sparse_numbers_.push_back(number);
    return absl::OkStatus();
  }
  if (value.empty() && !absl::StartsWith(key, kSchilyXattr)) {
    values_.erase(std::string(key));
  } else {
    values_.insert_or_assign(std::string(key), std::string(value));
  }
  return absl::OkStatus();
}

void PaxRecords::Merge(const PaxRecords& other) {
  for (const auto& [key, value] : other.values_) values_.insert_or_assign(key, value);
  if (!other.sparse_numbers_.empty()) sparse_numbers_ = other.sparse_numbers_;
}

void PaxRecords::Clear() {
  values_.clear();
  sparse_numbers_.clear();
}

const std::string* PaxRecords::Find(absl::string_view key) const {
  auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

absl::Status PaxRecords::ApplyTo(TarEntry* entry, int64_t* stored_size) const {
  if (const std::string* v = Find("path")) entry->name = *v;
  // Sparse files of GNU tar have a made-up path for readers that do not know them.
  if (const std::string* v = Find("GNU.sparse.name")) entry->name = *v;
  if (const std::string* v = Find("linkpath")) entry->link_name = *v;
  if (const std::string* v = Find("uname")) entry->user_name = *v;
  if (const std::string* v = Find("gname")) entry->group_name = *v;
  GANTRY_RETURN_IF_ERROR(SetId(Find("uid"), &entry->uid));
  GANTRY_RETURN_IF_ERROR(SetId(Find("gid"), &entry->gid));
  if (const std::string* v = Find("size")) {
    GANTRY_ASSIGN_OR_RETURN(*stored_size, ParsePaxNumber(*v));
  }
  if (const std::string* v = Find("mtime")) {
    GANTRY_ASSIGN_OR_RETURN(entry->mtime, ParsePaxTime(*v));
  }
  if (const std::string* v = Find("SCHILY.devmajor"))
    GANTRY_RETURN_IF_ERROR(SetId(v, &entry->dev_major));
  if (const std::string* v = Find("SCHILY.devminor"))
    GANTRY_RETURN_IF_ERROR(SetId(v, &entry->dev_minor));
  for (const auto& [key, value] : values_) {
    absl::string_view name = key;
    if (absl::ConsumePrefix(&name, kSchilyXattr)) {
      GANTRY_RETURN_IF_ERROR(CheckXattrName(name));
      entry->xattrs.insert_or_assign(std::string(name), value);
    }
  }
  for (const auto& [key, value] : values_) {
    absl::string_view name = key;
    if (absl::ConsumePrefix(&name, kLibarchiveXattr))
      GANTRY_RETURN_IF_ERROR(AddLibarchiveXattr(name, value, entry));
  }
  return absl::OkStatus();
}

absl::StatusOr<PaxRecords::Sparse> PaxRecords::GetSparse() const {
  Sparse sparse;
  const std::string* major = Find("GNU.sparse.major");
  const std::string* minor = Find("GNU.sparse.minor");
  if (major != nullptr && minor != nullptr && *major == "1" && *minor == "0") {
    sparse.map_in_data = true;
  } else if ((major != nullptr && *major != "0") ||
             (minor != nullptr && *minor != "0" && *minor != "1")) {
    return absl::InvalidArgumentError("tar: unknown format of a sparse file");
  }
  const std::string* map = Find("GNU.sparse.map");
  sparse.present = sparse.map_in_data || map != nullptr || !sparse_numbers_.empty();
  if (!sparse.present) return sparse;
  const std::string* size = Find(sparse.map_in_data ? "GNU.sparse.realsize" : "GNU.sparse.size");
  if (size == nullptr) return absl::InvalidArgumentError("tar: sparse file without its size");
  GANTRY_ASSIGN_OR_RETURN(sparse.real_size, ParsePaxNumber(*size));
  if (sparse.map_in_data) return sparse;
  std::vector<int64_t> numbers = sparse_numbers_;
  if (map != nullptr) {
    numbers.clear();
    for (absl::string_view text : absl::StrSplit(*map, ',')) {
      GANTRY_ASSIGN_OR_RETURN(int64_t number, ParsePaxNumber(text));
      numbers.push_back(number);
    }
  }
  if (numbers.size() % 2 != 0) return absl::InvalidArgumentError("tar: sparse map cut short");
  for (size_t i = 0; i < numbers.size(); i += 2)
    sparse.segments.push_back({numbers[i], numbers[i + 1]});
  return sparse;
}

}  // namespace gantry::archive
