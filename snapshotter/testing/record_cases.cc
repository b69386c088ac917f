// Names, parents, states, codes.
#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "snapshotter/testing/cases.h"

namespace gantry::snapshotter::testing {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

#define EXPECT_CODE(expression, want) \
  EXPECT_EQ(static_cast<absl::Status>(expression).code(), StatusCode::want) << (expression)
#define EXPECT_FAILS(expression, want)                         \
  do {                                                         \
    auto gantry_result = (expression);                         \
    EXPECT_EQ(gantry_result.status().code(), StatusCode::want) \
        << #expression << ": " << gantry_result.status();      \
  } while (false)

std::vector<std::string> Names(const absl::StatusOr<std::vector<Info>>& infos) {
  std::vector<std::string> names;
  EXPECT_TRUE(infos.ok()) << infos.status();
  if (infos.ok()) {
    for (const Info& info : *infos) names.push_back(info.name);
  }
  return names;
}

void Nothing(const Mounted&) {}

void Lifecycle(Env& env) {
  Subject& s = env.subject;
  ASSERT_TRUE(s.Prepare("work", "").ok());
  ASSERT_TRUE(s.Commit("base", "work").ok());
  EXPECT_FAILS(s.Stat("work"), kNotFound);
  ASSERT_TRUE(s.Prepare("container", "base").ok());
  ASSERT_TRUE(s.View("look", "base").ok());
  EXPECT_THAT(Names(s.Walk({})), UnorderedElementsAre("base", "container", "look"));
  EXPECT_TRUE(s.Remove("look").ok());
  EXPECT_TRUE(s.Remove("container").ok());
  EXPECT_TRUE(s.Remove("base").ok());
  EXPECT_THAT(Names(s.Walk({})), ElementsAre());
}

void StatTellsWhatWasAsked(Env& env) {
  Subject& s = env.subject;
  absl::Time before = absl::Now() - absl::Milliseconds(5);
  Layer(env, "base", "", Nothing);
  ASSERT_TRUE(s.Prepare("a", "base", {{"color", "red"}}).ok());
  auto info = s.Stat("a");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->name, "a");
  EXPECT_EQ(info->parent, "base");
  EXPECT_EQ(info->kind, "active");
  EXPECT_EQ(info->labels, (Labels{{"color", "red"}}));
  EXPECT_GE(info->created, before);
  EXPECT_LE(info->created, absl::Now());
  EXPECT_EQ(info->created, info->updated);
  EXPECT_EQ(s.Stat("base")->kind, "committed");
  EXPECT_EQ(s.Stat("base")->parent, "");
  ASSERT_TRUE(s.View("v", "base").ok());
  EXPECT_EQ(s.Stat("v")->kind, "view");
}

void CommitReplacesLabels(Env& env) {
  Subject& s = env.subject;
  ASSERT_TRUE(s.Prepare("a", "", {{"only", "active"}}).ok());
  ASSERT_TRUE(s.Commit("c", "a", {{"now", "committed"}}).ok());
  EXPECT_EQ(s.Stat("c")->labels, (Labels{{"now", "committed"}}));
}

void MissingThings(Env& env) {
  Subject& s = env.subject;
  EXPECT_FAILS(s.Stat("nobody"), kNotFound);
  EXPECT_FAILS(s.GetMounts("nobody"), kNotFound);
  EXPECT_FAILS(s.GetUsage("nobody"), kNotFound);
  EXPECT_CODE(s.Remove("nobody"), kNotFound);
  EXPECT_FAILS(s.Prepare("a", "nobody"), kNotFound);
  EXPECT_FAILS(s.View("a", "nobody"), kNotFound);
  EXPECT_FAILS(s.Stat("a"), kNotFound);
  EXPECT_FAILS(s.Update({"nobody", "", "", {}, {}, {{"a", "b"}}}, {}), kNotFound);
}

void CommitOfMissing(Env& env) {
  Layer(env, "base", "", Nothing);
  EXPECT_CODE(env.subject.Commit("c", "nobody"), kNotFound);
  EXPECT_FAILS(env.subject.Stat("c"), kNotFound);
}

void NamesAreUnique(Env& env) {
  Subject& s = env.subject;
  ASSERT_TRUE(s.Prepare("a", "").ok());
  EXPECT_FAILS(s.Prepare("a", ""), kAlreadyExists);
  EXPECT_FAILS(s.View("a", ""), kAlreadyExists);
  ASSERT_TRUE(s.Prepare("b", "").ok());
  ASSERT_TRUE(s.Commit("c", "a").ok());
  EXPECT_CODE(s.Commit("c", "b"), kAlreadyExists);
  EXPECT_FAILS(s.Prepare("c", ""), kAlreadyExists);
  EXPECT_CODE(s.Commit("b", "b"), kAlreadyExists);
  auto left = s.Stat("b");
  ASSERT_TRUE(left.ok()) << left.status();
  EXPECT_EQ(left->kind, "active");
}

// containerd answers Unknown to the last two; any refusal will do.
void EmptyNames(Env& env) {
  Subject& s = env.subject;
  EXPECT_FAILS(s.Stat(""), kNotFound);
  EXPECT_CODE(s.Remove(""), kNotFound);
  EXPECT_FALSE(s.Prepare("", "").ok());
  ASSERT_TRUE(s.Prepare("a", "").ok());
  EXPECT_FALSE(s.Commit("", "a").ok());
  auto left = s.Stat("a");
  ASSERT_TRUE(left.ok()) << left.status();
  EXPECT_EQ(left->kind, "active");
}

void ParentMustBeCommitted(Env& env) {
  Subject& s = env.subject;
  ASSERT_TRUE(s.Prepare("a", "").ok());
  EXPECT_FAILS(s.Prepare("b", "a"), kInvalidArgument);
  EXPECT_FAILS(s.View("b", "a"), kInvalidArgument);
  EXPECT_FAILS(s.Stat("b"), kNotFound);
}

void OnlyActiveCommits(Env& env) {
  Subject& s = env.subject;
  Layer(env, "base", "", Nothing);
  ASSERT_TRUE(s.View("v", "base").ok());
  EXPECT_CODE(s.Commit("c", "v"), kFailedPrecondition);
  EXPECT_CODE(s.Commit("c", "base"), kFailedPrecondition);
  EXPECT_FAILS(s.Stat("c"), kNotFound);
}

void CommittedHasNoMounts(Env& env) {
  Layer(env, "base", "", Nothing);
  EXPECT_FAILS(env.subject.GetMounts("base"), kFailedPrecondition);
}

void MountsAreRepeatable(Env& env) {
  Subject& s = env.subject;
  Layer(env, "one", "", Nothing);
  Layer(env, "two", "one", Nothing);
  auto made = s.Prepare("a", "two");
  auto asked = s.GetMounts("a");
  ASSERT_TRUE(made.ok() && asked.ok());
  EXPECT_TRUE(*made == *asked);
  made = s.View("v", "two");
  asked = s.GetMounts("v");
  ASSERT_TRUE(made.ok() && asked.ok());
  EXPECT_TRUE(*made == *asked);
}

void ChildrenKeepTheirParent(Env& env) {
  Subject& s = env.subject;
  Layer(env, "one", "", Nothing);
  Layer(env, "two", "one", Nothing);
  ASSERT_TRUE(s.Prepare("a", "two").ok());
  EXPECT_CODE(s.Remove("one"), kFailedPrecondition);
  EXPECT_CODE(s.Remove("two"), kFailedPrecondition);
  EXPECT_TRUE(s.Remove("a").ok());
  EXPECT_CODE(s.Remove("one"), kFailedPrecondition);
  EXPECT_TRUE(s.Remove("two").ok());
  EXPECT_TRUE(s.Remove("one").ok());
}

void NameIsFreeAfterRemoval(Env& env) {
  Subject& s = env.subject;
  for (int i = 0; i < 3; ++i) {
    auto mounts = s.Prepare("again", "");
    ASSERT_TRUE(mounts.ok()) << mounts.status();
    {
      Mounted m(env, mounts);
      ASSERT_TRUE(m.ok());
      EXPECT_EQ(Read(m / "file"), "<missing>");
      Write(m / "file", "x");
    }
    ASSERT_TRUE(s.Remove("again").ok());
  }
}

void LabelsByFieldMask(Env& env) {
  Subject& s = env.subject;
  ASSERT_TRUE(s.Prepare("a", "", {{"keep", "1"}, {"change", "1"}, {"drop", "1"}}).ok());
  auto info = s.Update({"a", "", "", {}, {}, {{"change", "2"}, {"new", "2"}, {"other", "2"}}},
                       {"labels.change", "labels.new", "labels.drop"});
  ASSERT_TRUE(info.ok()) << info.status();
  auto stat = s.Stat("a");
  ASSERT_TRUE(stat.ok());
  EXPECT_EQ(stat->labels, (Labels{{"keep", "1"}, {"change", "2"}, {"new", "2"}}));
  EXPECT_GT(stat->updated, stat->created);
  ASSERT_TRUE(s.Update({"a", "", "", {}, {}, {{"all", "3"}}}, {}).ok());
  EXPECT_EQ(s.Stat("a")->labels, (Labels{{"all", "3"}}));
  EXPECT_FAILS(s.Update({"a", "x", "", {}, {}, {}}, {"parent"}), kInvalidArgument);
}

void WalkWithFilters(Env& env) {
  Subject& s = env.subject;
  Layer(env, "one", "", Nothing);
  Layer(env, "two", "one", Nothing);
  ASSERT_TRUE(s.Prepare("a", "two", {{"color", "red"}}).ok());
  ASSERT_TRUE(s.View("v", "one").ok());
  EXPECT_THAT(Names(s.Walk({})), UnorderedElementsAre("one", "two", "a", "v"));
  EXPECT_THAT(Names(s.Walk({"kind==committed"})), UnorderedElementsAre("one", "two"));
  EXPECT_THAT(Names(s.Walk({"kind==active"})), ElementsAre("a"));
  EXPECT_THAT(Names(s.Walk({"kind==view"})), ElementsAre("v"));
  EXPECT_THAT(Names(s.Walk({"parent==one"})), UnorderedElementsAre("two", "v"));
  EXPECT_THAT(Names(s.Walk({"labels.color==red"})), ElementsAre("a"));
  EXPECT_THAT(Names(s.Walk({"name==one", "kind==view"})), UnorderedElementsAre("one", "v"));
  auto infos = s.Walk({});
  ASSERT_TRUE(infos.ok());
  for (const Info& info : *infos) {
    auto stat = s.Stat(info.name);
    ASSERT_TRUE(stat.ok());
    EXPECT_EQ(stat->kind, info.kind);
    EXPECT_EQ(stat->parent, info.parent);
    EXPECT_EQ(stat->created, info.created);
  }
}

void ManyPreparesAtOnce(Env& env) {
  Subject& s = env.subject;
  Layer(env, "base", "", Nothing);
  constexpr int kThreads = 6, kEach = 10;
  std::atomic<int> made{0}, lost{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        if (s.Prepare(absl::StrCat("own-", t, "-", i), "base").ok()) ++made;
        auto contested = s.Prepare(absl::StrCat("contested-", i), "base");
        if (contested.ok()) ++made;
        if (absl::IsAlreadyExists(contested.status())) ++lost;
        if (!contested.ok() && !absl::IsAlreadyExists(contested.status())) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, kThreads * kEach + kEach);
  EXPECT_EQ(lost, (kThreads - 1) * kEach);
  EXPECT_EQ(wrong, 0);
  std::set<std::vector<std::string>> distinct;
  auto infos = s.Walk({"kind==active"});
  ASSERT_TRUE(infos.ok());
  for (const Info& info : *infos) {
    auto mounts = s.GetMounts(info.name);
    ASSERT_TRUE(mounts.ok() && !mounts->empty());
    std::vector<std::string> identity = (*mounts)[0].options;
    identity.push_back((*mounts)[0].source);
    distinct.insert(identity);
  }
  EXPECT_EQ(distinct.size(), static_cast<size_t>(kThreads * kEach + kEach));
}

}  // namespace

const std::vector<Case>& RecordCases() {
  static const auto* cases = new std::vector<Case>{
      {"Lifecycle", Lifecycle},
      {"StatTellsWhatWasAsked", StatTellsWhatWasAsked},
      {"CommitReplacesLabels", CommitReplacesLabels},
      {"MissingThings", MissingThings},
      {"CommitOfMissing", CommitOfMissing},
      {"NamesAreUnique", NamesAreUnique},
      {"EmptyNames", EmptyNames},
      {"ParentMustBeCommitted", ParentMustBeCommitted},
      {"OnlyActiveCommits", OnlyActiveCommits},
      {"CommittedHasNoMounts", CommittedHasNoMounts},
      {"MountsAreRepeatable", MountsAreRepeatable},
      {"ChildrenKeepTheirParent", ChildrenKeepTheirParent},
      {"NameIsFreeAfterRemoval", NameIsFreeAfterRemoval},
      {"LabelsByFieldMask", LabelsByFieldMask},
      {"WalkWithFilters", WalkWithFilters},
      {"ManyPreparesAtOnce", ManyPreparesAtOnce},
  };
  return *cases;
}

}  // namespace gantry::snapshotter::testing
