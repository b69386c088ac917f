#include "services/lifecycle/registry.h"

#include "gtest/gtest.h"
#include "services/lifecycle/container_files.h"
#include "services/lifecycle/signals.h"
#include "services/lifecycle/validate.h"

namespace gantry::services::lifecycle {
namespace {

class RegistryTest : public ::testing::Test {
 protected:
  EntryPtr Add(const std::string& id, const std::string& name) {
    auto entry = registry_.Add("ns", id, name);
    EXPECT_TRUE(entry.ok()) << entry.status();
    (*entry)->ready = true;
    return *entry;
  }
  std::string Find(const std::string& typed) {
    auto found = registry_.Find("ns", typed);
    return found.ok() ? (*found)->id : std::string(found.status().message());
  }

  WorkerPool pool_;
  Registry registry_{&pool_};
};

TEST_F(RegistryTest, FindsByIdNameAndPrefix) {
  Add("abc1", "abd1");
  Add("abd1", "");
  Add("abd2", "x");
  EXPECT_EQ(Find("abc"), "abc1");
  EXPECT_EQ(Find("abd1"), "abd1") << "an id before a name";
  EXPECT_EQ(Find("/x"), "abd2");
  EXPECT_EQ(Find("ab"), "Multiple IDs found with provided prefix: ab");
  EXPECT_EQ(Find("zz"), "No such container: zz");
  EXPECT_EQ(Find(""), "No such container: ");
  EXPECT_FALSE(registry_.Find("other", "abc1").ok());
}

TEST_F(RegistryTest, WhatIsBeingCreatedHoldsItsNameAndIsNotFound) {
  auto entry = registry_.Add("ns", "a1", "web");
  ASSERT_TRUE(entry.ok());
  EXPECT_FALSE(registry_.Get("ns", "a1").ok());
  EXPECT_EQ(Find("web"), "No such container: web");
  EXPECT_EQ(registry_.Add("ns", "a2", "web").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(registry_.Add("ns", "a1", "").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(registry_.Add("other", "a1", "web").ok());
  registry_.Remove(**entry, "web");
  EXPECT_TRUE(registry_.Add("ns", "a2", "web").ok());
}

TEST_F(RegistryTest, Renames) {
  EntryPtr entry = Add("a1", "old");
  Add("a2", "taken");
  EXPECT_FALSE(registry_.Rename(*entry, "taken", "taken").ok());
  ASSERT_TRUE(registry_.Rename(*entry, "new", "new").ok());
  EXPECT_EQ(Find("old"), "a1");
  EXPECT_EQ(Find("new"), "a1");
  ASSERT_TRUE(registry_.Rename(*entry, "old", "").ok());
  EXPECT_EQ(Find("old"), "No such container: old");
  EXPECT_EQ(Find("new"), "a1");
}

TEST(ValidateTest, Names) {
  for (const char* good : {"", "ab", "A.b-c_9"}) EXPECT_TRUE(CheckName(good).ok()) << good;
  for (const char* bad : {"a", "/ab", "-ab", "a b", "a/b", "\xc3\xa4\xc3\xa4", "a\nb"})
    EXPECT_FALSE(CheckName(bad).ok()) << bad;
  EXPECT_FALSE(CheckName(std::string(300, 'a')).ok());
}

TEST(SignalsTest, NamesAndNumbers) {
  EXPECT_EQ(*ParseSignal("SIGTERM"), 15u);
  EXPECT_EQ(*ParseSignal("term"), 15u);
  EXPECT_EQ(*ParseSignal("9"), 9u);
  EXPECT_EQ(*ParseSignal("SIGRTMIN+3"), 37u);
  EXPECT_EQ(*ParseSignal("RTMAX"), 64u);
  for (const char* bad : {"", "0", "65", "-1", "TERMINATE", "RTMIN+40", "SIG"})
    EXPECT_FALSE(ParseSignal(bad).ok()) << bad;
}

TEST(ContainerFilesTest, LogUris) {
  EXPECT_EQ(LogPath("json-file:///a%20b/c?max-size=1"), "/a b/c");
  EXPECT_EQ(LogPath("json-file:///a%2"), "/a%2");
  EXPECT_EQ(LogPath(""), "");
  EXPECT_EQ(LogPath("fifo:///x"), "");
  EXPECT_EQ(WithQuery("json-file:///a", "attach", "/r/x y"), "json-file:///a?attach=/r/x%20y");
  EXPECT_EQ(WithQuery("json-file:///a?b=c", "d", "1"), "json-file:///a?b=c&d=1");
}

}  // namespace
}  // namespace gantry::services::lifecycle
