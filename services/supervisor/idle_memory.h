#ifndef GANTRY_SERVICES_SUPERVISOR_IDLE_MEMORY_H_
#define GANTRY_SERVICES_SUPERVISOR_IDLE_MEMORY_H_

#include "absl/time/time.h"

namespace gantry::services {

// Tells when a program that has worked is quiet again, so that it can give back memory which only
// the work needed. Knows the program by the processor time it has used: that costs one system call
// a period and nothing on any path of a request. One thread.
class IdleMemory {
 public:
  // How often Due() should be asked.
  static constexpr absl::Duration kPeriod = absl::Seconds(5);

  // `used`: all processor time of the process since it began. True when little was used since the
  // last call, and enough since the last true answer for there to be something to give back.
  bool Due(absl::Duration used);

 private:
  absl::Duration last_;
  absl::Duration released_;
};

// The processor time of this process.
absl::Duration ProcessorTime();

// Gives back program text and free heap. What is used again costs minor faults.
void ReleaseIdleMemory();

}  // namespace gantry::services

#endif  // GANTRY_SERVICES_SUPERVISOR_IDLE_MEMORY_H_
