#include "docker/images/remove_plan.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::docker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

LocalImage MakeImage(const std::string& seed, const std::vector<std::string>& names,
                     const std::vector<std::string>& layers) {
  auto content = std::make_shared<ImageContent>();
  content->id = base::DigestOf(seed);
  for (const std::string& layer : layers) content->chain_ids.push_back(layer);
  LocalImage image;
  image.content = content;
  for (const std::string& name : names) {
    auto reference = ParseImageReference(name);
    image.names.push_back(reference->str());
    (reference->digest.empty() ? image.tags : image.digests).push_back(*reference);
  }
  if (names.empty()) image.names.push_back(DanglingName(base::DigestOf("target " + seed)));
  return image;
}

std::string Id(const std::string& seed) { return base::DigestOf(seed).str(); }

std::vector<std::string> Lines(const RemovePlan& plan) {
  std::vector<std::string> out;
  for (const auto& line : plan.lines) {
    out.push_back(absl::StrCat(line.deleted ? "Deleted: " : "Untagged: ", line.what));
  }
  return out;
}

TEST(RemovePlanTest, DeletesTheOnlyNameWithTheImageAndItsOwnLayers) {
  std::vector<LocalImage> all = {MakeImage("a", {"x:1"}, {"base", "top"}),
                                 MakeImage("b", {"y:1"}, {"base"})};
  RemovePlan plan = PlanRemoval(all, {}, all[0], "x:1", {});
  EXPECT_TRUE(plan.conflict.ok());
  EXPECT_THAT(Lines(plan), ElementsAre("Untagged: x:1", "Deleted: " + Id("a"), "Deleted: top"));
  EXPECT_THAT(plan.names, ElementsAre("docker.io/library/x:1"));
  EXPECT_THAT(plan.keep, IsEmpty());
}

TEST(RemovePlanTest, OnlyUntagsWhileThereAreOtherNames) {
  std::vector<LocalImage> all = {MakeImage("a", {"x:1", "z:1"}, {"l"})};
  RemovePlan plan = PlanRemoval(all, {{"c1", all[0].id(), true}}, all[0], "x:1", {});
  EXPECT_TRUE(plan.conflict.ok());
  EXPECT_THAT(Lines(plan), ElementsAre("Untagged: x:1"));
}

TEST(RemovePlanTest, TheDigestsOfARepositoryGoWithItsLastTag) {
  std::string digested = "x@sha256:" + std::string(64, 'd');
  std::vector<LocalImage> all = {MakeImage("a", {"x:1", digested}, {})};
  RemovePlan plan = PlanRemoval(all, {}, all[0], "x:1", {});
  EXPECT_THAT(Lines(plan),
              ElementsAre("Untagged: x:1", "Untagged: " + digested, "Deleted: " + Id("a")));
}

TEST(RemovePlanTest, ANameInUseMustBeForced) {
  std::vector<LocalImage> all = {MakeImage("a", {"x:1"}, {"l"})};
  const std::string container = "0123456789abcdef";
  std::vector<ImageUser> users = {{container, all[0].id(), false}};
  RemovePlan plan = PlanRemoval(all, users, all[0], "x:1", {});
  EXPECT_EQ(plan.conflict.message(),
            absl::StrCat("conflict: unable to remove repository reference \"x:1\" (must force) - "
                         "container 0123456789ab is using its referenced image ",
                         ShortId(Id("a"))));
  EXPECT_THAT(plan.lines, IsEmpty());
  // Forced, a stopped container does not hinder.
  plan = PlanRemoval(all, users, all[0], "x:1", {.force = true});
  EXPECT_TRUE(plan.conflict.ok());
  EXPECT_THAT(Lines(plan), ElementsAre("Untagged: x:1", "Deleted: " + Id("a"), "Deleted: l"));
  // A running one leaves the image, without a name.
  users[0].running = true;
  plan = PlanRemoval(all, users, all[0], "x:1", {.force = true});
  EXPECT_THAT(plan.conflict.message(),
              HasSubstr("(cannot be forced) - image is being used by running container"));
  EXPECT_THAT(Lines(plan), ElementsAre("Untagged: x:1"));
  EXPECT_THAT(plan.keep, ElementsAre(all[0].id()));
}

TEST(RemovePlanTest, ByIdRefusesSeveralRepositories) {
  std::vector<LocalImage> all = {MakeImage("a", {"x:1", "y:1"}, {})};
  const std::string id = Id("a");
  RemovePlan plan = PlanRemoval(all, {}, all[0], id.substr(7, 12), {});
  EXPECT_EQ(plan.conflict.message(),
            absl::StrCat("conflict: unable to delete ", ShortId(id),
                         " (must be forced) - image is referenced in multiple repositories"));
  plan = PlanRemoval(all, {}, all[0], id, {.force = true});
  EXPECT_THAT(Lines(plan), ElementsAre("Untagged: x:1", "Untagged: y:1", "Deleted: " + id));
}

TEST(RemovePlanTest, ByIdTakesTheOnlyName) {
  std::vector<LocalImage> all = {MakeImage("a", {"x:1"}, {})};
  RemovePlan plan = PlanRemoval(all, {}, all[0], Id("a"), {});
  EXPECT_THAT(Lines(plan), ElementsAre("Untagged: x:1", "Deleted: " + Id("a")));
  plan = PlanRemoval(all, {{"c", all[0].id(), false}}, all[0], Id("a"), {});
  EXPECT_THAT(plan.conflict.message(),
              HasSubstr("(must be forced) - image is being used by stopped container c"));
}

TEST(RemovePlanTest, ParentsWithoutANameGoToo) {
  std::vector<LocalImage> all = {MakeImage("child", {"x:1"}, {"p", "c"}),
                                 MakeImage("parent", {}, {"p"})};
  all[0].parent = all[1].id();
  RemovePlan plan = PlanRemoval(all, {}, all[0], "x:1", {});
  EXPECT_THAT(Lines(plan), ElementsAre("Untagged: x:1", "Deleted: " + Id("child"), "Deleted: c",
                                       "Deleted: " + Id("parent"), "Deleted: p"));
  plan = PlanRemoval(all, {}, all[0], "x:1", {.prune = false});
  EXPECT_THAT(Lines(plan), ElementsAre("Untagged: x:1", "Deleted: " + Id("child"), "Deleted: c"));
  // With a name, in use, or with other children a parent stays.
  plan = PlanRemoval(all, {{"k", all[1].id(), false}}, all[0], "x:1", {});
  EXPECT_EQ(plan.lines.size(), 3u);
  all.push_back(MakeImage("other", {"y:1"}, {"p"}));
  all[2].parent = all[1].id();
  plan = PlanRemoval(all, {}, all[0], "x:1", {});
  EXPECT_TRUE(plan.conflict.ok());
  EXPECT_EQ(plan.lines.size(), 3u);
}

TEST(RemovePlanTest, AParentOfOthersCannotBeForced) {
  std::vector<LocalImage> all = {MakeImage("child", {"x:1"}, {}), MakeImage("parent", {}, {})};
  all[0].parent = all[1].id();
  RemovePlan plan = PlanRemoval(all, {}, all[1], Id("parent"), {.force = true});
  EXPECT_THAT(plan.conflict.message(),
              HasSubstr("(cannot be forced) - image has dependent child images"));
  EXPECT_THAT(plan.lines, IsEmpty());
}

TEST(FindAmongTest, FindsByNameAndId) {
  std::vector<LocalImage> all = {MakeImage("a", {"x:latest", "x:2"}, {}),
                                 MakeImage("b", {"r.io/x:1"}, {})};
  const std::string id = Id("a");
  for (const std::string& typed :
       {std::string("x"), std::string("x:2"), std::string("docker.io/library/x"), id, id.substr(7),
        id.substr(7, 12), id.substr(7, 3), id.substr(0, 12)}) {
    auto found = FindAmong(all, typed);
    ASSERT_TRUE(found.ok()) << typed << found.status();
    EXPECT_EQ(found->id(), all[0].id()) << typed;
  }
  EXPECT_EQ(FindAmong(all, "nosuch").status().message(), "No such image: nosuch:latest");
  EXPECT_EQ(FindAmong(all, "r.io/x").status().message(), "No such image: r.io/x:latest");
  EXPECT_EQ(FindAmong(all, "zz/y:3").status().message(), "No such image: zz/y:3");
  EXPECT_EQ(FindAmong(all, "X").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::IsNotFound(FindAmong(all, std::string(64, 'f')).status()));
}

}  // namespace
}  // namespace gantry::docker
