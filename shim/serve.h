#ifndef GANTRY_SHIM_SERVE_H_
#define GANTRY_SHIM_SERVE_H_

#include <string>

#include "base/unique_fd.h"

namespace gantry::shim {

struct ServeOptions {
  std::string ns;
  std::string bundle;         // becomes the working directory; empty: stays
  std::string ttrpc_address;  // where events go; may be empty
  std::string socket_path;    // of `listener`; removed at the end
  base::UniqueFd listener;
  bool debug = false;
};

// The life of a shim: becomes a daemon (own session, /dev/null as 0 and 1, the bundle's fifo `log`
// as 2), a child subreaper and a little easier for the OOM killer, serves the task services until a
// client shuts it down, and never returns. To be called in a single-threaded process.
//
// A shim that has no container and no client for a minute ends by itself: its supervisor died
// before it could be used.
[[noreturn]] void Serve(ServeOptions options);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SERVE_H_
