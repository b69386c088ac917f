// Our .proto files against containerd's own, as Debian packages them: whatever exists there must
// exist here with the same full name, numbers, types and labels. Ours may have more (1.6 against
// 2.x). Packages: golang-github-containerd-containerd-dev (1.6), golang-github-containerd-
// containerd-api-dev (2.x); GANTRY_CONTAINERD_GOCODE names other roots ("DIR:DIR"), each laid out
// as /usr/share/gocode/src.

#include <cstdlib>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/compiler/importer.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;
using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

constexpr char kRoots[] = "/usr/share/gocode/src";
constexpr char kContainerd[] = "github.com/containerd/containerd";

std::string Env(const char* name, const char* otherwise) {
  const char* value = getenv(name);
  return value != nullptr ? value : otherwise;
}

class Errors : public google::protobuf::compiler::MultiFileErrorCollector {
 public:
  void AddError(const std::string& file, int line, int, const std::string& message) override {
    text += absl::StrCat(file, ":", line + 1, ": ", message, "\n");
  }
  void AddWarning(const std::string&, int, int, const std::string&) override {}
  std::string text;
};

// The .proto files below one or more directories, compiled.
class Sources {
 public:
  Sources() : importer_(&tree_, &errors_) {}

  void Map(const std::string& name, const std::string& dir) { tree_.MapPath(name, dir); }

  // Compiles `name`, as imports spell it.
  const FileDescriptor* Import(const std::string& name) {
    const FileDescriptor* file = importer_.Import(name);
    if (file == nullptr) ADD_FAILURE() << name << " does not compile:\n" << errors_.text;
    return file;
  }
  // Compiles all that lies below `dir`, which imports call `name`.
  std::vector<const FileDescriptor*> ImportAll(const fs::path& dir, const std::string& name) {
    std::vector<const FileDescriptor*> files;
    for (const auto& entry : fs::recursive_directory_iterator(dir)) {
      if (entry.path().extension() != ".proto") continue;
      const std::string relative = fs::relative(entry.path(), dir).string();
      files.push_back(Import(name.empty() ? relative : absl::StrCat(name, "/", relative)));
    }
    return files;
  }
  const DescriptorPool* pool() const { return importer_.pool(); }

 private:
  google::protobuf::compiler::DiskSourceTree tree_;
  Errors errors_;
  google::protobuf::compiler::Importer importer_;
};

// Messages that 2.x moved to another package; their bytes are the same.
std::string Moved(const std::string& name) {
  if (name == "containerd.services.events.v1.Envelope") return "containerd.types.Envelope";
  if (name == "containerd.services.events.ttrpc.v1.Envelope") return "containerd.types.Envelope";
  return name;
}

// Everything about a field that the wire or a client sees.
std::string Describe(const FieldDescriptor& field) {
  std::string type = field.type_name();
  if (field.message_type() != nullptr) type = Moved(field.message_type()->full_name());
  if (field.enum_type() != nullptr) type = field.enum_type()->full_name();
  std::string oneof;
  if (field.real_containing_oneof() != nullptr) {
    oneof = absl::StrCat(" in oneof ", field.real_containing_oneof()->name());
  }
  return absl::StrCat(field.is_repeated() ? "repeated " : "", type, " ", field.name(), " = ",
                      field.number(), oneof);
}

std::string Describe(const MethodDescriptor& method) {
  return absl::StrCat(method.full_name(), "(", method.client_streaming() ? "stream " : "",
                      Moved(method.input_type()->full_name()), ") returns (",
                      method.server_streaming() ? "stream " : "",
                      Moved(method.output_type()->full_name()), ")");
}

class Comparison {
 public:
  explicit Comparison(const DescriptorPool* ours) : ours_(ours) {}

  void File(const FileDescriptor& file) {
    for (int i = 0; i < file.message_type_count(); ++i) Message(*file.message_type(i));
    for (int i = 0; i < file.enum_type_count(); ++i) Enum(*file.enum_type(i));
    for (int i = 0; i < file.service_count(); ++i) Service(*file.service(i));
  }

  const std::vector<std::string>& differences() const { return differences_; }
  int compared() const { return compared_; }

 private:
  void Message(const Descriptor& theirs) {
    const Descriptor* mine = ours_->FindMessageTypeByName(Moved(theirs.full_name()));
    if (mine == nullptr) return Missing("message", theirs.full_name());
    ++compared_;
    for (int i = 0; i < theirs.field_count(); ++i) {
      const FieldDescriptor& field = *theirs.field(i);
      // 2.x gave up a field of 1.6 (runc's criu_path) and keeps its number free.
      if (mine->IsReservedNumber(field.number())) continue;
      const FieldDescriptor* found = mine->FindFieldByNumber(field.number());
      const std::string want = Describe(field);
      const std::string have = found != nullptr ? Describe(*found) : "nothing";
      if (want != have) {
        differences_.push_back(
            absl::StrCat(theirs.full_name(), ": theirs ", want, ", ours ", have));
      }
    }
    for (int i = 0; i < theirs.nested_type_count(); ++i) Message(*theirs.nested_type(i));
    for (int i = 0; i < theirs.enum_type_count(); ++i) Enum(*theirs.enum_type(i));
  }

  void Enum(const EnumDescriptor& theirs) {
    const EnumDescriptor* mine = ours_->FindEnumTypeByName(theirs.full_name());
    if (mine == nullptr) return Missing("enum", theirs.full_name());
    ++compared_;
    for (int i = 0; i < theirs.value_count(); ++i) {
      const auto* found = mine->FindValueByName(theirs.value(i)->name());
      if (found != nullptr && found->number() == theirs.value(i)->number()) continue;
      differences_.push_back(absl::StrCat("enum value ", theirs.value(i)->full_name(), " = ",
                                          theirs.value(i)->number(), " is missing or other"));
    }
  }

  void Service(const ServiceDescriptor& theirs) {
    const ServiceDescriptor* mine = ours_->FindServiceByName(theirs.full_name());
    if (mine == nullptr) return Missing("service", theirs.full_name());
    ++compared_;
    for (int i = 0; i < theirs.method_count(); ++i) {
      const MethodDescriptor* found = mine->FindMethodByName(theirs.method(i)->name());
      const std::string want = Describe(*theirs.method(i));
      const std::string have = found != nullptr ? Describe(*found) : "nothing";
      if (want != have) differences_.push_back(absl::StrCat("theirs ", want, ", ours ", have));
    }
  }

  void Missing(absl::string_view kind, const std::string& name) {
    // The shim of containerd 1.0 and Windows, which gantry does not run on.
    for (absl::string_view foreign : {"containerd.linux.runc.", "containerd.runtime.linux.",
                                      "containerd.runhcs.", "containerd.plugin."}) {
      if (absl::StartsWith(name, foreign)) return;
    }
    differences_.push_back(absl::StrCat(kind, " ", name, " is missing"));
  }

  const DescriptorPool* ours_;
  std::vector<std::string> differences_;
  int compared_ = 0;
};

// The comparison with the sources below one gocode root; nothing when containerd's are not there.
void Compare(const std::string& root) {
  const fs::path source = Env("GANTRY_SOURCE_DIR", ".");
  const fs::path containerd = fs::path(root) / kContainerd;

  Sources ours;
  ours.Map("", source / "proto");
  ours.Map("", "/usr/include");
  ours.ImportAll(source / "proto" / "containerd", "containerd");

  Sources theirs;
  theirs.Map(kContainerd, containerd);
  theirs.Map("gogoproto", std::string(kRoots) + "/github.com/gogo/protobuf/gogoproto");
  theirs.Map("google/rpc", source / "proto/google/rpc");
  theirs.Map("", "/usr/include");
  Comparison comparison(ours.pool());
  for (const char* part : {"api", "runtime/v2"}) {
    if (!fs::exists(containerd / part)) continue;
    for (const FileDescriptor* file :
         theirs.ImportAll(containerd / part, absl::StrCat(kContainerd, "/", part))) {
      if (file != nullptr) comparison.File(*file);
    }
  }
  EXPECT_GT(comparison.compared(), 150) << "too little was found below " << containerd;
  EXPECT_THAT(comparison.differences(), ::testing::IsEmpty())
      << absl::StrJoin(comparison.differences(), "\n");
}

TEST(DescriptorsTest, HaveAllThatContainerdHas) {
  int found = 0;
  for (const std::string& root :
       std::vector<std::string>(absl::StrSplit(Env("GANTRY_CONTAINERD_GOCODE", kRoots), ':'))) {
    if (!fs::exists(fs::path(root) / kContainerd / "api")) continue;
    SCOPED_TRACE(root);
    Compare(root);
    ++found;
  }
  if (found == 0) GTEST_SKIP() << "golang-github-containerd-containerd-dev is not installed";
}

}  // namespace
}  // namespace gantry::tests
