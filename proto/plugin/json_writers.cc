#include <cctype>

#include "google/protobuf/descriptor.pb.h"
#include "proto/plugin/generators.h"

namespace gantry::proto {
namespace {

namespace pb = google::protobuf;
using Field = pb::FieldDescriptor;

bool IsWellKnown(const pb::FileDescriptor* file) { return file->package() == "google.protobuf"; }

// The expression that turns `value` of the field's type into JSON; empty when there is none.
std::string ValueOf(const Field* field, const std::string& value) {
  switch (field->cpp_type()) {
    case Field::CPPTYPE_STRING:
      return field->type() == Field::TYPE_BYTES ? "" : value;
    case Field::CPPTYPE_BOOL:
    case Field::CPPTYPE_INT32:
    case Field::CPPTYPE_UINT32:
      return value;
    case Field::CPPTYPE_INT64:
    case Field::CPPTYPE_UINT64:
      return "::std::to_string(" + value + ")";  // as the JSON mapping of proto3 has it
    case Field::CPPTYPE_MESSAGE:
      return (IsWellKnown(field->message_type()->file()) ? "::gantry::proto::ToJson(" : "ToJson(") +
             value + ")";
    default:
      return "";
  }
}

// When a field that is not repeated has something to say.
std::string Presence(const Field* field, const std::string& value) {
  if (field->cpp_type() == Field::CPPTYPE_MESSAGE) return "m.has_" + field->name() + "()";
  if (field->cpp_type() == Field::CPPTYPE_STRING) return "!" + value + ".empty()";
  return value + " != 0";
}

bool PrintField(const Field* field, pb::io::Printer* out, std::string* error) {
  const Field* last = field->is_map() ? field->message_type()->FindFieldByNumber(2) : field;
  std::string get = "m." + field->name() + "()";
  std::string one = field->is_map() || field->is_repeated() ? "value" : get;
  std::string json = ValueOf(last, one);
  if (json.empty()) {
    *error = field->full_name() + ": no JSON writer for this type of field";
    return false;
  }
  if (field->is_map()) {
    out->Print("  for (const auto& [key, value] : $get$) json[\"$name$\"][key] = $json$;\n", "get",
               get, "name", field->name(), "json", json);
  } else if (field->is_repeated()) {
    out->Print("  for (const auto& value : $get$) json[\"$name$\"].push_back($json$);\n", "get",
               get, "name", field->name(), "json", json);
  } else {
    out->Print("  if ($present$) json[\"$name$\"] = $json$;\n", "present", Presence(field, get),
               "name", field->name(), "json", json);
  }
  return true;
}

bool PrintWriter(const pb::Descriptor* message, pb::io::Printer* out, std::string* error) {
  for (int i = 0; i < message->nested_type_count(); ++i) {
    const pb::Descriptor* nested = message->nested_type(i);
    if (!nested->options().map_entry() && !PrintWriter(nested, out, error)) return false;
  }
  out->Print(
      "\ninline ::gantry::base::OrderedJson ToJson(const $type$& m) {\n"
      "  auto json = ::gantry::base::OrderedJson::object();\n",
      "type", CppType(message));
  for (int i = 0; i < message->field_count(); ++i) {
    if (!PrintField(message->field(i), out, error)) return false;
  }
  out->Print("  return json;\n}\n");
  return true;
}

// "TaskToJson" of containerd/events/task.proto.
std::string FunctionName(const pb::FileDescriptor* file) {
  std::string stem = Stem(file);
  std::string name = stem.substr(stem.rfind('/') + 1);
  name[0] = static_cast<char>(toupper(name[0]));
  return name + "ToJson";
}

// Prototypes first: messages refer to each other in any order.
void PrintPrototypes(const pb::Descriptor* message, pb::io::Printer* out) {
  out->Print("inline ::gantry::base::OrderedJson ToJson(const $type$& m);\n", "type",
             CppType(message));
}

}  // namespace

bool PrintJsonWriters(const pb::FileDescriptor* file, pb::io::Printer* out, std::string* error) {
  out->Print("#include <string>\n\n#include \"$stem$.pb.h\"\n", "stem", Stem(file));
  for (int i = 0; i < file->dependency_count(); ++i) {
    if (IsWellKnown(file->dependency(i))) continue;
    out->Print("#include \"$stem$.json.h\"\n", "stem", Stem(file->dependency(i)));
  }
  std::string package = Replace(file->package(), ".", "::");
  out->Print("#include \"proto/json.h\"\n\nnamespace $package$ {\n\n", "package", package);
  for (int i = 0; i < file->message_type_count(); ++i) {
    PrintPrototypes(file->message_type(i), out);
  }
  for (int i = 0; i < file->message_type_count(); ++i) {
    if (!PrintWriter(file->message_type(i), out, error)) return false;
  }
  out->Print(
      "\n// False when `type` is no message of this file, or the bytes are malformed.\n"
      "inline bool $function$(const ::std::string& type, const ::std::string& bytes,\n"
      "                       ::gantry::base::OrderedJson* json) {\n"
      "  using ::gantry::proto::ParseToJson;\n",
      "function", FunctionName(file));
  for (int i = 0; i < file->message_type_count(); ++i) {
    out->Print("  if (type == \"$name$\") return ParseToJson<$type$>(bytes, json);\n", "name",
               file->message_type(i)->full_name(), "type", CppType(file->message_type(i)));
  }
  out->Print("  return false;\n}\n\n}  // namespace $package$\n", "package", package);
  return true;
}

}  // namespace gantry::proto
