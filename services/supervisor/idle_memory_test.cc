#include "services/supervisor/idle_memory.h"

#include "base/file.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

TEST(IdleMemoryTest, IsDueOnceAfterWork) {
  IdleMemory idle;
  EXPECT_FALSE(idle.Due(absl::Milliseconds(400)));  // it works
  EXPECT_FALSE(idle.Due(absl::Milliseconds(900)));
  EXPECT_TRUE(idle.Due(absl::Milliseconds(901)));
  EXPECT_FALSE(idle.Due(absl::Milliseconds(902)));  // nothing came to be since
  EXPECT_FALSE(idle.Due(absl::Milliseconds(1200)));
  EXPECT_TRUE(idle.Due(absl::Milliseconds(1200)));
}

TEST(IdleMemoryTest, LittleWorkAddsUp) {
  IdleMemory idle;
  int due = 0;
  for (int i = 1; i <= 100; ++i) due += idle.Due(absl::Milliseconds(10 * i)) ? 1 : 0;
  EXPECT_EQ(due, 20);
}

TEST(IdleMemoryTest, ProcessorTimeGrows) {
  absl::Duration before = ProcessorTime();
  for (absl::Duration now = before; now < before + absl::Milliseconds(5);) now = ProcessorTime();
  EXPECT_GT(ProcessorTime(), before);
}

TEST(IdleMemoryTest, TheProgramGoesOnAfterARelease) {
  for (int i = 0; i < 3; ++i) ReleaseIdleMemory();
  EXPECT_TRUE(base::ReadFile("/proc/self/maps").ok());
}

}  // namespace
}  // namespace gantry::services
