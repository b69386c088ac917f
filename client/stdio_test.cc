#include "client/stdio.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::client {
namespace {

using ::testing::IsEmpty;

class StdioTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-stdio-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    base_ = dir_ + "/new/fifo";
  }
  void TearDown() override { EXPECT_TRUE(base::RemoveTree(dir_).ok()); }

  // The shim's ends of what a client made.
  struct Shim {
    base::UniqueFd in, out, err;
  };
  static base::UniqueFd OpenEnd(const std::string& path, int flags) {
    return base::UniqueFd(path.empty() ? -1 : open(path.c_str(), flags | O_NONBLOCK | O_CLOEXEC));
  }
  static Shim OpenShim(const Fifos& fifos) {
    return {OpenEnd(fifos.in_path(), O_RDONLY), OpenEnd(fifos.out_path(), O_WRONLY),
            OpenEnd(fifos.err_path(), O_WRONLY)};
  }
  static std::string ReadAll(int fd) {
    char buffer[4096];
    ssize_t n = read(fd, buffer, sizeof(buffer));
    return std::string(buffer, n > 0 ? static_cast<size_t>(n) : 0);
  }

  std::string dir_;
  std::string base_;
};

TEST_F(StdioTest, FifosAreMadeWhereNothingWasAndGoWithTheirOwner) {
  {
    auto fifos = Fifos::Create(base_, true, false);
    ASSERT_TRUE(fifos.ok()) << fifos.status();
    struct stat info = {};
    ASSERT_EQ(stat(base_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0700u);
    EXPECT_EQ(base::ListDir(base_)->size(), 3u);
    auto terminal = Fifos::Create(base_, false, true);
    ASSERT_TRUE(terminal.ok());
    EXPECT_EQ(terminal->in_path() + terminal->err_path(), "");
    EXPECT_EQ(base::ListDir(base_)->size(), 4u);
  }
  EXPECT_THAT(*base::ListDir(base_), IsEmpty());
}

TEST_F(StdioTest, OnlyFifosOfOursAreRemovedByName) {
  std::string path;
  {
    auto fifos = Fifos::Create(base_, true, false);
    ASSERT_TRUE(fifos.ok());
    path = fifos->out_path();
    fifos->Keep();
  }
  std::string other = dir_ + "/precious.stdout";
  ASSERT_TRUE(base::ReplaceFile(other, "x").ok());
  for (const std::string& name :
       {other, absl::StrCat(base_, "/../../precious.stdout"), absl::StrCat(base_, "/.stdout"),
        base_, std::string(), std::string("file:///x.stdout")}) {
    Fifos::Remove(base_, name);
    EXPECT_TRUE(base::Exists(other)) << name;
    EXPECT_EQ(base::ListDir(base_)->size(), 3u) << name;
  }
  Fifos::Remove(base_, path);
  EXPECT_THAT(*base::ListDir(base_), IsEmpty());
}

TEST_F(StdioTest, CopiesBothWaysUntilTheOutputsEnd) {
  auto fifos = Fifos::Create(base_, true, false);
  ASSERT_TRUE(fifos.ok());
  Shim shim = OpenShim(*fifos);
  auto in = base::MakePipe();
  auto out = base::MakePipe(O_NONBLOCK);
  auto err = base::MakePipe(O_NONBLOCK);
  ASSERT_TRUE(in.ok() && out.ok() && err.ok());
  ASSERT_TRUE(base::WriteAll(in->write.get(), "typed").ok());
  in->write.Reset();
  ASSERT_TRUE(base::WriteAll(shim.out.get(), "to out").ok());
  ASSERT_TRUE(base::WriteAll(shim.err.get(), "to err").ok());
  bool ended = false;
  StdioPump::Options options;
  options.in = in->read.get();
  options.out = out->write.get();
  options.err = err->write.get();
  options.on_stdin_end = [&ended] { ended = true; };
  StdioPump pump(*std::move(fifos), options);
  pump.Run({}, [&ended] { return ended; });
  EXPECT_EQ(ReadAll(shim.in.get()), "typed");
  ASSERT_TRUE(base::WriteAll(shim.out.get(), " and more").ok());
  shim.out.Reset();
  shim.err.Reset();
  pump.Finish(absl::Seconds(10));
  EXPECT_EQ(ReadAll(out->read.get()), "to out and more");
  EXPECT_EQ(ReadAll(err->read.get()), "to err");
}

TEST_F(StdioTest, FinishDoesNotWaitForWhoHoldsAnOutputOpen) {
  auto fifos = Fifos::Create(base_, false, true);
  ASSERT_TRUE(fifos.ok());
  Shim shim = OpenShim(*fifos);
  StdioPump pump(*std::move(fifos), {});
  pump.Finish(absl::Milliseconds(20));
}

TEST_F(StdioTest, DetachKeysAreNotPassedOn) {
  auto fifos = Fifos::Create(base_, true, true);
  ASSERT_TRUE(fifos.ok());
  Shim shim = OpenShim(*fifos);
  auto in = base::MakePipe();
  ASSERT_TRUE(in.ok());
  // A lone first key is the program's.
  ASSERT_TRUE(base::WriteAll(in->write.get(), "a\x10z\x10\x11").ok());
  bool detached = false;
  StdioPump::Options options;
  options.in = in->read.get();
  options.detach_keys = "\x10\x11";
  options.on_detach = [&detached] { detached = true; };
  StdioPump pump(*std::move(fifos), options);
  int rounds = 0;
  std::string got;
  auto watched = [&] { return pollfd{shim.in.get(), POLLIN, 0}; };
  pump.Run({{watched, [&] { got += ReadAll(shim.in.get()); }}},
           [&] { return (detached && got.size() >= 3) || ++rounds > 100; });
  EXPECT_TRUE(detached);
  EXPECT_EQ(got, "a\x10z");
}

}  // namespace
}  // namespace gantry::client
