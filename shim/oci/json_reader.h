#ifndef GANTRY_SHIM_OCI_JSON_READER_H_
#define GANTRY_SHIM_OCI_JSON_READER_H_

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/json.h"

namespace gantry::oci {

// A view of one value inside a document that knows where it stands, so that every complaint names
// its key. The first complaint is kept in the shared status and later ones are dropped; readers of
// wrong or absent values then give defaults, so callers need to look at the status only once. A
// null value counts as absent, as Go's decoder treats it.
class JsonReader {
 public:
  // `value` and `status` must outlive the reader and all that come from it.
  JsonReader(const base::Json& value, std::string path, absl::Status* status)
      : value_(&value), path_(std::move(path)), status_(status) {}

  bool present() const { return !value_->is_null(); }
  const base::Json& json() const { return *value_; }
  const std::string& path() const { return path_; }

  JsonReader At(absl::string_view key) const;  // a member; absent when this is absent
  std::vector<JsonReader> Items() const;       // of an array

  std::string String(absl::string_view key) const;
  bool Bool(absl::string_view key) const;
  std::optional<int64_t> Int(absl::string_view key,
                             int64_t min = std::numeric_limits<int64_t>::min(),
                             int64_t max = std::numeric_limits<int64_t>::max()) const;
  std::optional<uint64_t> Uint(absl::string_view key,
                               uint64_t max = std::numeric_limits<uint64_t>::max()) const;
  std::optional<uint32_t> Uint32(absl::string_view key) const;
  std::optional<uint16_t> Uint16(absl::string_view key) const;
  std::vector<std::string> Strings(absl::string_view key) const;
  std::map<std::string, std::string> StringMap(absl::string_view key) const;

  // Strings here go to the kernel as C strings: one with a NUL inside is refused.
  std::string AsString() const;
  std::optional<uint64_t> AsUint(uint64_t max) const;

  void Fail(absl::string_view what) const;

 private:
  const base::Json* value_;
  std::string path_;
  absl::Status* status_;
};

}  // namespace gantry::oci

#endif  // GANTRY_SHIM_OCI_JSON_READER_H_
