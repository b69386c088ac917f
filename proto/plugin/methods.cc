#include "proto/plugin/generators.h"

namespace gantry::proto {
namespace {

namespace pb = google::protobuf;

const char* Kind(const pb::MethodDescriptor* method) {
  if (method->client_streaming()) {
    return method->server_streaming() ? "BidiMethod" : "ClientStreamMethod";
  }
  return method->server_streaming() ? "ServerStreamMethod" : "UnaryMethod";
}

void PrintService(const pb::ServiceDescriptor* service, pb::io::Printer* out) {
  out->Print("\nstruct $name$Methods {\n", "name", service->name());
  for (int i = 0; i < service->method_count(); ++i) {
    const pb::MethodDescriptor* method = service->method(i);
    out->Print(
        "  static constexpr ::gantry::proto::$kind$<$request$, $response$> k$name${\n"
        "      \"/$service$/$name$\"};\n",
        "kind", Kind(method), "request", CppType(method->input_type()), "response",
        CppType(method->output_type()), "name", method->name(), "service", service->full_name());
  }
  out->Print("};\n");
}

}  // namespace

void PrintMethods(const pb::FileDescriptor* file, pb::io::Printer* out) {
  out->Print("#include \"$stem$.pb.h\"\n", "stem", Stem(file));
  // A method's messages may come from an imported file (google.protobuf.Empty).
  for (int i = 0; i < file->dependency_count(); ++i) {
    out->Print("#include \"$stem$.pb.h\"\n", "stem", Stem(file->dependency(i)));
  }
  std::string package = Replace(file->package(), ".", "::");
  out->Print("#include \"proto/method.h\"\n\nnamespace $package$ {\n", "package", package);
  for (int i = 0; i < file->service_count(); ++i) PrintService(file->service(i), out);
  out->Print("\n}  // namespace $package$\n", "package", package);
}

}  // namespace gantry::proto
