#ifndef GANTRY_SERVICES_CONTENT_DESCRIPTOR_H_
#define GANTRY_SERVICES_CONTENT_DESCRIPTOR_H_

#include <cstdint>
#include <map>
#include <string>

#include "base/digest.h"

namespace gantry::services {

// An OCI content descriptor, digest already validated.
struct Descriptor {
  std::string media_type;
  base::Digest digest;
  int64_t size = 0;
  std::map<std::string, std::string> annotations;
};

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_CONTENT_DESCRIPTOR_H_
