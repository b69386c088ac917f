#include "services/exits/exit_store.h"

#include <filesystem>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "gtest/gtest.h"
#include "services/metadata/test_db.h"

namespace gantry::services {
namespace {

class ExitStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = absl::StrCat("/tmp/gantry-exits-", base::RandomHex(6));
    Reopen({});
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Reopen(ExitStore::Options options) {
    auto store =
        ExitStore::Open({db_.get(),
                         [](const std::string&, const std::string& id) {
                           return ExitStore::Names{id + "-name", "image"};
                         },
                         [this](const std::string&) {
                           return std::vector<std::string>(bundles_.begin(), bundles_.end());
                         }},
                        options);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  std::string Bundle(const std::string& id, uint32_t status, absl::Time at) {
    std::string bundle = dir_ + "/" + id;
    std::filesystem::create_directories(bundle);
    gantry::shim::v1::ExitRecord record;
    record.set_namespace_("forged");
    record.set_exit_status(status);
    base::SetTimestamp(record.mutable_exited_at(), at);
    EXPECT_TRUE(base::WriteFile(bundle + "/exit-record", record.SerializeAsString()).ok());
    return bundle;
  }
  std::vector<uint32_t> Statuses(const std::string& container, const std::string& ns = "ns") {
    auto found = store_->List(Context{.ns = ns}, container, 0);
    EXPECT_TRUE(found.ok()) << found.status();
    std::vector<uint32_t> statuses;
    if (!found.ok()) return statuses;
    for (const auto& exit : *found) statuses.push_back(exit.record().exit_status());
    return statuses;
  }

  std::string dir_;
  TestDb db_;
  std::set<std::string> bundles_;
  std::unique_ptr<ExitStore> store_;
  const absl::Time now_ = absl::Now();
};

using Numbers = std::vector<uint32_t>;

TEST_F(ExitStoreTest, NewestFirstByIdNameAndBeginning) {
  for (uint32_t i = 1; i <= 3; ++i) {
    ASSERT_TRUE(store_->Keep("ns", "abc", Bundle("abc", i, now_ + absl::Seconds(i))).ok());
  }
  ASSERT_TRUE(store_->Keep("ns", "abcd", Bundle("abcd", 9, now_)).ok());
  ASSERT_TRUE(store_->Keep("other", "abc", Bundle("abc", 7, now_)).ok());
  EXPECT_EQ(Statuses("abc"), (Numbers{3, 2, 1}));
  EXPECT_EQ(Statuses("abcd-name"), (Numbers{9}));
  EXPECT_EQ(Statuses("ab"), (Numbers{3, 2, 1, 9}));
  EXPECT_EQ(Statuses("").size(), 4u);
  EXPECT_EQ(Statuses("", "other"), (Numbers{7}));
  EXPECT_EQ(store_->List(Context{.ns = "ns"}, "x", 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->List(Context{.ns = "ns"}, "", 2)->size(), 2u);
  EXPECT_EQ(store_->List(Context{.ns = "ns"}, "abc", 0)->front().record().namespace_(), "ns");
}

TEST_F(ExitStoreTest, ABundleThatStillExistsIsLookedInto) {
  bundles_ = {Bundle("live", 4, now_)};
  EXPECT_EQ(Statuses("live-name"), (Numbers{4}));
  ASSERT_TRUE(store_->Keep("ns", "live", *bundles_.begin()).ok());
  EXPECT_EQ(Statuses("live"), (Numbers{4})) << "not twice";
}

TEST_F(ExitStoreTest, KeepsWithinItsBounds) {
  Reopen({.keep_count = 3, .keep_age = absl::Hours(1)});
  for (uint32_t i = 1; i <= 5; ++i) {
    std::string id = absl::StrCat("c", i);
    ASSERT_TRUE(store_->Keep("ns", id, Bundle(id, i, now_ - absl::Minutes(i))).ok());
  }
  ASSERT_TRUE(store_->Keep("ns", "old", Bundle("old", 99, now_ - absl::Hours(2))).ok());
  ASSERT_TRUE(store_->Prune().ok());
  EXPECT_EQ(Statuses(""), (Numbers{1, 2, 3}));
  // Without being asked, too.
  for (uint32_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(store_->Keep("ns", "many", Bundle("many", i, now_ + absl::Milliseconds(i))).ok());
  }
  EXPECT_LT(Statuses("").size(), 100u);
}

TEST_F(ExitStoreTest, NoRecordIsNoError) {
  std::filesystem::create_directories(dir_ + "/empty");
  EXPECT_TRUE(store_->Keep("ns", "empty", dir_ + "/empty").ok());
  EXPECT_TRUE(store_->Keep("ns", "gone", dir_ + "/gone").ok());
  ASSERT_TRUE(base::WriteFile(dir_ + "/empty/exit-record", "\xff\xff\xff").ok());
  EXPECT_EQ(store_->Keep("ns", "empty", dir_ + "/empty").code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace gantry::services
