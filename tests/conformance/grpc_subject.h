#ifndef GANTRY_TESTS_CONFORMANCE_GRPC_SUBJECT_H_
#define GANTRY_TESTS_CONFORMANCE_GRPC_SUBJECT_H_

#include <memory>
#include <string>

#include "snapshotter/testing/suite.h"

namespace grpc {
class Channel;
}

namespace gantry::testing {

// The snapshotter `name` of the snapshots service behind `channel`, in a namespace of its own and
// under a lease (else a garbage collector would take what the cases make); both are deleted with
// the subject. Servers without those services are used without.
std::unique_ptr<snapshotter::testing::Subject> MakeGrpcSubject(
    std::shared_ptr<grpc::Channel> channel, const std::string& name);

}  // namespace gantry::testing

#endif  // GANTRY_TESTS_CONFORMANCE_GRPC_SUBJECT_H_
