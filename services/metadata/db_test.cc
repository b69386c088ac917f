#include "services/metadata/db.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/ids.h"
#include "containerd/events/container.pb.h"
#include "containerd/services/images/v1/images.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/metadata/keys.h"

namespace gantry::services {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DbTest : public ::testing::Test {
 protected:
  DbTest() : dir_(absl::StrCat(::testing::TempDir(), "gantry-db-", base::RandomHex(6))) {}
  ~DbTest() override {
    db_.reset();
    std::filesystem::remove_all(dir_);
  }
  void Open() {
    absl::StatusOr<std::unique_ptr<Db>> db = Db::Open(path());
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
  }
  void Close() { db_.reset(); }
  std::string path() const { return dir_ + "/db"; }
  void SetUp() override {
    std::filesystem::create_directories(dir_);
    Open();
  }

  absl::Status Put(absl::string_view key, absl::string_view value,
                   Durability durability = Durability::kNone) {
    return db_->Update(durability, [&](Tx& tx) {
      tx.Put(key, value);
      return absl::OkStatus();
    });
  }
  static std::string Read(const Db& db, absl::string_view key) {
    std::string out = "(error)";
    absl::Status status = db.View([&](const ReadView& view) -> absl::Status {
      GANTRY_ASSIGN_OR_RETURN(std::optional<std::string> value, view.Get(key));
      out = value.value_or("(none)");
      return absl::OkStatus();
    });
    return status.ok() ? out : std::string(status.message());
  }
  std::string Read(absl::string_view key) { return Read(*db_, key); }

  const std::string dir_;
  std::unique_ptr<Db> db_;
};

TEST_F(DbTest, KeepsWhatWasWrittenOverReopening) {
  ASSERT_TRUE(Put("a", "1", Durability::kSync).ok());
  ASSERT_TRUE(Put("b", "2").ok());
  Close();
  Open();
  EXPECT_EQ(Read("a"), "1");
  EXPECT_EQ(Read("b"), "2");
  EXPECT_EQ(Read("c"), "(none)");
}

TEST_F(DbTest, FailedUpdateWritesNothing) {
  absl::Status status = db_->Update(Durability::kSync, [&](Tx& tx) -> absl::Status {
    tx.Put("a", "1");
    tx.AddEvent("ns", "/x", containerd::events::ContainerDelete());
    return absl::AlreadyExistsError("no");
  });
  EXPECT_TRUE(absl::IsAlreadyExists(status));
  EXPECT_EQ(Read("a"), "(none)");
  EXPECT_EQ(db_->last_event(), 0u);
}

TEST_F(DbTest, TransactionReadsItsOwnWrites) {
  ASSERT_TRUE(Put(Key({"t", "1"}), "old").ok());
  ASSERT_TRUE(Put(Key({"t", "3"}), "old").ok());
  std::vector<std::string> seen;
  absl::Status status = db_->Update(Durability::kNone, [&](Tx& tx) -> absl::Status {
    tx.Put(Key({"t", "1"}), "new");
    tx.Put(Key({"t", "2"}), "new");
    tx.Delete(Key({"t", "3"}));
    return tx.Scan(KeyPrefix({"t"}), [&](absl::string_view rest, absl::string_view value) {
      seen.push_back(absl::StrCat(rest, "=", value));
      return true;
    });
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ElementsAre("1=new", "2=new"));
}

TEST_F(DbTest, ScanStaysWithinThePrefix) {
  for (const std::string& key :
       {Key({"t", "a", "1"}), Key({"t", "a", "2"}), Key({"t", "ab", "1"}), Key({"u", "a", "1"})}) {
    ASSERT_TRUE(Put(key, "x").ok());
  }
  std::vector<std::string> seen;
  ASSERT_TRUE(db_->View([&](const ReadView& view) {
                   return view.Scan(KeyPrefix({"t", "a"}),
                                    [&](absl::string_view rest, absl::string_view) {
                                      seen.emplace_back(rest);
                                      return true;
                                    });
                 })
                  .ok());
  EXPECT_THAT(seen, ElementsAre("1", "2"));
}

TEST_F(DbTest, ViewIsConsistentWhileOthersWrite) {
  ASSERT_TRUE(Put("a", "1").ok());
  ASSERT_TRUE(db_->View([&](const ReadView& view) -> absl::Status {
                   EXPECT_TRUE(Put("a", "2").ok());
                   EXPECT_EQ(**view.Get("a"), "1");
                   return absl::OkStatus();
                 })
                  .ok());
  EXPECT_EQ(Read("a"), "2");
}

TEST_F(DbTest, SyncedChangesSurviveACopyOfTheDirectory) {
  ASSERT_TRUE(Put("a", "1", Durability::kSync).ok());
  ASSERT_TRUE(Put("b", "2", Durability::kSync).ok());
  const std::string copy = dir_ + "/copy";
  std::filesystem::copy(path(), copy, std::filesystem::copy_options::recursive);
  absl::StatusOr<std::unique_ptr<Db>> crashed = Db::Open(copy);
  ASSERT_TRUE(crashed.ok()) << crashed.status();
  EXPECT_EQ(Read(**crashed, "a"), "1");
  EXPECT_EQ(Read(**crashed, "b"), "2");
}

// Cuts the newest log at every length: what opens is always a prefix of the commits, each whole.
TEST_F(DbTest, TornLogLosesOnlyTheTail) {
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(db_->Update(Durability::kNone,
                            [&](Tx& tx) {
                              tx.Put(absl::StrCat("x", i), "1");
                              tx.Put(absl::StrCat("y", i), "1");
                              return absl::OkStatus();
                            })
                    .ok());
  }
  const std::string copy = dir_ + "/copy";
  std::filesystem::copy(path(), copy, std::filesystem::copy_options::recursive);
  std::string log;
  for (const auto& entry : std::filesystem::directory_iterator(copy)) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) log = entry.path();
  }
  ASSERT_FALSE(log.empty());
  for (int cut = 1; cut < 60; cut += 7) {
    const std::string torn = absl::StrCat(dir_, "/torn", cut);
    std::filesystem::copy(copy, torn, std::filesystem::copy_options::recursive);
    const std::string file = torn + "/" + std::filesystem::path(log).filename().string();
    std::filesystem::resize_file(file, std::filesystem::file_size(file) - cut);
    absl::StatusOr<std::unique_ptr<Db>> db = Db::Open(torn);
    ASSERT_TRUE(db.ok()) << db.status();
    bool ended = false;
    for (int i = 0; i < 5; ++i) {
      std::string x = Read(**db, absl::StrCat("x", i));
      EXPECT_EQ(x, Read(**db, absl::StrCat("y", i)));
      if (x == "(none)") ended = true;
      EXPECT_TRUE(!ended || x == "(none)") << "commit " << i << " after a lost one";
    }
    EXPECT_EQ(Read(**db, "x4"), "(none)");
    EXPECT_EQ(Read(**db, "x0"), "1");
  }
}

TEST_F(DbTest, SecondOpenSaysThatItIsInUse) {
  absl::StatusOr<std::unique_ptr<Db>> second = Db::Open(path());
  EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use by another process"));
}

TEST_F(DbTest, DamagedDatabaseSaysWhatToDo) {
  ASSERT_TRUE(Put("a", "1").ok());
  Close();
  for (const auto& entry : std::filesystem::directory_iterator(path())) {
    if (entry.path().filename().string().rfind("MANIFEST", 0) == 0) {
      std::filesystem::resize_file(entry.path(), 10);
    }
  }
  absl::StatusOr<std::unique_ptr<Db>> db = Db::Open(path());
  EXPECT_TRUE(absl::IsDataLoss(db.status())) << db.status();
  EXPECT_THAT(std::string(db.status().message()), HasSubstr("restore it from a backup"));
}

TEST_F(DbTest, UnparsableRecordIsDataLoss) {
  ASSERT_TRUE(Put(Key({"img", "ns", "x"}), "\xff\xff\xff").ok());
  absl::Status status = db_->View([&](const ReadView& view) {
    return view.GetProto<containerd::services::images::v1::Image>(Key({"img", "ns", "x"})).status();
  });
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("img/ns/x"));
}

TEST_F(DbTest, EventsAreNumberedDurablyAndDeliveredInOrder) {
  std::vector<uint64_t> seen;
  db_->AddCommitListener([&](const CommitInfo& info) {
    for (const NumberedEvent& event : info.events) seen.push_back(event.sequence);
  });
  for (Durability durability : {Durability::kNone, Durability::kSync}) {
    ASSERT_TRUE(db_->Update(durability,
                            [&](Tx& tx) {
                              containerd::events::ContainerDelete event;
                              event.set_id("c");
                              tx.AddEvent("ns", "/containers/delete", event);
                              tx.AddEvent("ns", "/containers/delete", event);
                              return absl::OkStatus();
                            })
                    .ok());
  }
  EXPECT_THAT(seen, ElementsAre(1, 2, 3, 4));
  Close();
  Open();
  EXPECT_EQ(db_->last_event(), 4u);
  std::vector<std::string> types;
  ASSERT_TRUE(db_->View([&](const ReadView& view) {
                   return view.ScanProto<containerd::types::Envelope>(
                       KeyPrefix({kTableEvents}),
                       [&](absl::string_view number, const containerd::types::Envelope& e) {
                         types.push_back(absl::StrCat(*ParseEventKeyNumber(number), e.topic(), " ",
                                                      e.event().type_url()));
                         return true;
                       });
                 })
                  .ok());
  ASSERT_EQ(types.size(), 4u);
  EXPECT_EQ(types[3], "4/containers/delete containerd.events.ContainerDelete");
}

TEST_F(DbTest, ManyThreadsCommitSeriallyAndEventsStayInOrder) {
  constexpr int kThreads = 8;
  constexpr int kEach = 100;
  std::vector<uint64_t> seen;
  db_->AddCommitListener([&](const CommitInfo& info) {
    for (const NumberedEvent& event : info.events) seen.push_back(event.sequence);
  });
  std::vector<std::thread> threads;
  const absl::Time start = absl::Now();
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) {
        absl::Status status = db_->Update(
            i % 4 == 0 ? Durability::kNone : Durability::kSync, [&](Tx& tx) -> absl::Status {
              GANTRY_ASSIGN_OR_RETURN(std::optional<std::string> old, tx.Get("n"));
              tx.Put("n", absl::StrCat(old.has_value() ? std::stoi(*old) + 1 : 1));
              tx.AddEvent("ns", "/x", containerd::events::ContainerDelete());
              return absl::OkStatus();
            });
        EXPECT_TRUE(status.ok()) << status;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const double rate = kThreads * kEach / absl::ToDoubleSeconds(absl::Now() - start);
  RecordProperty("commits_per_second", static_cast<int>(rate));
  std::cerr << "commits per second: " << static_cast<int>(rate) << "\n";
  EXPECT_EQ(Read("n"), absl::StrCat(kThreads * kEach));
  ASSERT_EQ(seen.size(), static_cast<size_t>(kThreads * kEach));
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i + 1);
}

// A child commits and reports each number once its Update() has returned; whatever was reported
// before it was killed must be there, and nothing with a gap.
TEST_F(DbTest, ReportedCommitsSurviveKill) {
  Close();
  for (int round = 0; round < 5; ++round) {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      absl::StatusOr<std::unique_ptr<Db>> db = Db::Open(path());
      if (!db.ok()) _exit(1);
      for (uint32_t i = 0;; ++i) {
        absl::Status status =
            (*db)->Update(i % 2 == 0 ? Durability::kSync : Durability::kNone, [&](Tx& tx) {
              tx.Put(absl::StrCat("r", round, "-", i), "1");
              return absl::OkStatus();
            });
        if (!status.ok() || write(fds[1], &i, sizeof i) != sizeof i) _exit(1);
      }
    }
    close(fds[1]);
    uint32_t last = 0;
    const uint32_t until = 20 + 37 * round;
    while (last < until && read(fds[0], &last, sizeof last) == sizeof last) {
    }
    kill(child, SIGKILL);
    while (read(fds[0], &last, sizeof last) == sizeof last) {
    }
    close(fds[0]);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed by itself";
    Open();
    for (uint32_t i = 0; i <= last; ++i) {
      EXPECT_EQ(Read(absl::StrCat("r", round, "-", i)), "1") << i << " of " << last;
    }
    EXPECT_EQ(Read(absl::StrCat("r", round, "-", last + 2)), "(none)");
    Close();
  }
}

TEST_F(DbTest, JournalListsWhatChanged) {
  ASSERT_TRUE(Put("before", "1").ok());
  std::unique_ptr<Db::Journal> journal = db_->StartJournal();
  ASSERT_TRUE(Put("b", "1").ok());
  ASSERT_TRUE(Put("a", "1").ok());
  ASSERT_TRUE(Put("b", "2").ok());
  EXPECT_THAT(journal->Keys(), ElementsAre("a", "b"));
}

}  // namespace
}  // namespace gantry::services
