#include "snapshotter/testing/suite.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "gtest/gtest.h"
#include "snapshotter/testing/cases.h"

namespace gantry::snapshotter::testing {
namespace {

class SuiteTest : public ::testing::Test {
 public:
  SuiteTest(const Case* test_case, std::shared_ptr<const Factory> factory)
      : case_(test_case), factory_(std::move(factory)) {}

 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to mount";
    top_ = absl::StrCat("/tmp/gantry-snapshots-", getpid(), "-", base::RandomHex(4));
    ASSERT_TRUE(base::MakeDirs(top_ + "/work", 0700).ok());
    absl::StatusOr<std::unique_ptr<Subject>> subject = (*factory_)(top_ + "/root");
    ASSERT_TRUE(subject.ok()) << subject.status();
    subject_ = *std::move(subject);
    if (subject_ == nullptr) GTEST_SKIP() << "not available here";
  }

  void TearDown() override {
    if (subject_ != nullptr) RemoveEverything();
    subject_.reset();
    if (top_.empty()) return;
    EXPECT_TRUE(base::RemoveTree(top_).ok());
  }

  void TestBody() override {
    Env env{*subject_, top_ + "/work"};
    case_->run(env);
  }

 private:
  // Also when the subject is a daemon that goes on: nothing of the case stays.
  void RemoveEverything() {
    for (bool progress = true; progress;) {
      progress = false;
      absl::StatusOr<std::vector<Info>> left = subject_->Walk({});
      if (!left.ok()) return;
      for (const Info& info : *left) progress |= subject_->Remove(info.name).ok();
    }
  }

  const Case* const case_;
  const std::shared_ptr<const Factory> factory_;
  std::string top_;
  std::unique_ptr<Subject> subject_;
};

}  // namespace

int RegisterSnapshotterSuite(const std::string& name, Factory factory) {
  auto shared = std::make_shared<const Factory>(std::move(factory));
  int count = 0;
  for (const std::vector<Case>* cases : {&RecordCases(), &FileCases()}) {
    for (const Case& one : *cases) {
      ::testing::RegisterTest(
          name.c_str(), one.name, nullptr, nullptr, __FILE__, __LINE__,
          [&one, shared]() -> SuiteTest* { return new SuiteTest(&one, shared); });
      ++count;
    }
  }
  return count;
}

}  // namespace gantry::snapshotter::testing
