#ifndef GANTRY_PROTO_PLUGIN_GENERATORS_H_
#define GANTRY_PROTO_PLUGIN_GENERATORS_H_

#include <string>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/printer.h"

namespace gantry::proto {

// x.methods.h: the constants of every service (proto/method.h).
void PrintMethods(const google::protobuf::FileDescriptor* file, google::protobuf::io::Printer* out);

// x.json.h: writers of every message (proto/json.h). False with `error` for a kind of field that
// they do not know.
bool PrintJsonWriters(const google::protobuf::FileDescriptor* file,
                      google::protobuf::io::Printer* out, std::string* error);

// "::containerd::types::Mount", as protoc's C++ generator names it.
std::string CppType(const google::protobuf::Descriptor* message);
// With every `from` replaced.
std::string Replace(std::string text, const std::string& from, const std::string& to);
// "containerd/types/mount" of the file.
std::string Stem(const google::protobuf::FileDescriptor* file);

}  // namespace gantry::proto

#endif  // GANTRY_PROTO_PLUGIN_GENERATORS_H_
