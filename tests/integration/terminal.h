#ifndef GANTRY_TESTS_INTEGRATION_TERMINAL_H_
#define GANTRY_TESTS_INTEGRATION_TERMINAL_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/process.h"
#include "base/unique_fd.h"

namespace gantry::tests {

// A program on a pseudo terminal of its own, and the person before it.
class Terminal {
 public:
  // Starts it as a session leader with the terminal as its controlling one; a failure fails the
  // test.
  Terminal(const std::vector<std::string>& argv, int columns, int rows);
  // Kills it when it has not ended.
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  void Type(absl::string_view keys);
  // As a window manager does: sets the size, the kernel sends SIGWINCH.
  void Resize(int columns, int rows);
  // Reads until `text` has come; false when it does not. Everything that came is in screen().
  bool Await(absl::string_view text, absl::Duration timeout = absl::Seconds(15));
  const std::string& screen() const { return screen_; }
  void Clear() { screen_.clear(); }
  // Reads to the end; no value when it does not end in time.
  std::optional<base::ExitStatus> End(absl::Duration timeout = absl::Seconds(15));

 private:
  // Reads what has come. False at the end of the terminal.
  bool ReadSome(absl::Duration timeout);

  base::UniqueFd master_;
  pid_t pid_ = -1;
  std::string screen_;
};

}  // namespace gantry::tests

#endif  // GANTRY_TESTS_INTEGRATION_TERMINAL_H_
