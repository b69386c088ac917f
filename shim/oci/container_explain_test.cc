// Ten ways in which a start fails, each with its cause and what to do about it.

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"
#include "shim/oci/elf_program.h"
#include "shim/oci/explain.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

void Program(TestBundle* bundle, const std::string& path, const std::string& text, mode_t mode) {
  WriteTestFile(bundle->rootfs() + path, text, mode);
  bundle->spec["process"]["args"] = {path};
}

TEST(ContainerExplainTest, SaysCauseAndRemedy) {
  struct Case {
    const char* name;
    std::function<void(TestBundle*)> prepare;
    absl::StatusCode code;
    const char* cause;
    const char* remedy;
  };
  const Case kCases[] = {
      {"missing file", [](TestBundle* b) { b->spec["process"]["args"] = {"nosuch"}; },
       absl::StatusCode::kNotFound, "\"nosuch\": executable file not found in $PATH",
       "give its full path or add it to the image"},
      {"missing interpreter",
       [](TestBundle* b) { Program(b, "/bin/script", "#!/bin/bash -e\n", 0755); },
       absl::StatusCode::kNotFound, "its interpreter \"/bin/bash\" does not exist",
       "install it or correct the #! line"},
      {"CRLF", [](TestBundle* b) { Program(b, "/bin/dos", "#!/bin/sh\r\necho\r\n", 0755); },
       absl::StatusCode::kNotFound, "carriage return", "dos2unix"},
      {"wrong architecture",
       [](TestBundle* b) {
         std::string program = base::ReadFile("/bin/busybox").value_or("");
         uint16_t machine = EM_S390;
         memcpy(program.data() + EI_NIDENT + 2, &machine, sizeof machine);
         Program(b, "/bin/foreign", program, 0755);
       },
       absl::StatusCode::kInvalidArgument, "exec format error: it is built for s390",
       "use an image of this platform"},
      {"noexec",
       [](TestBundle* b) {
         ASSERT_EQ(mkdir((b->dir() + "/v").c_str(), 0755), 0);
         WriteTestFile(b->dir() + "/v/script", "#!/bin/sh\n", 0755);
         b->spec["mounts"].push_back({{"destination", "/v"},
                                      {"type", "bind"},
                                      {"source", b->dir() + "/v"},
                                      {"options", {"bind", "noexec"}}});
         b->spec["process"]["args"] = {"/v/script"};
       },
       absl::StatusCode::kPermissionDenied, "on a mount with the option noexec",
       "mount that without it"},
      {"no permission at all", [](TestBundle* b) { Program(b, "/bin/plain", "#!/bin/sh\n", 0644); },
       absl::StatusCode::kPermissionDenied, "no execute bit", "chmod +x"},
      {"no permission for the user",
       [](TestBundle* b) {
         Program(b, "/bin/own", "#!/bin/sh\n", 0700);
         b->spec["process"]["user"] = {{"uid", 1000}, {"gid", 1000}};
         b->spec["process"]["capabilities"] = base::Json::object();
       },
       absl::StatusCode::kPermissionDenied, "owner 0:0, mode 0700", "run as another user"},
      {"bad working directory", [](TestBundle* b) { b->spec["process"]["cwd"] = "/etc/passwd"; },
       absl::StatusCode::kNotFound, "working directory \"/etc/passwd\": not a directory",
       "choose a directory"},
      {"bad user",
       [](TestBundle* b) {
         b->UseUserNamespace();
         b->spec["process"]["user"] = {{"uid", 70000}, {"gid", 0}};
       },
       absl::StatusCode::kInvalidArgument, "set user \"uid 70000\"", "extend linux.uidMappings"},
      {"full pids limit",
       [](TestBundle* b) {
         b->spec["linux"]["resources"]["pids"] = {{"limit", 1}};
         b->spec["hooks"]["startContainer"] = {{{"path", "/bin/true"}}};
       },
       absl::StatusCode::kResourceExhausted, "a limit of processes is reached",
       "raise linux.resources.pids.limit"}};
  for (const Case& c : kCases) {
    TestBundle bundle;
    bundle.spec["process"]["args"] = {"true"};
    c.prepare(&bundle);
    RunOutcome outcome = bundle.Run();
    EXPECT_EQ(outcome.status.code(), c.code) << c.name << ": " << outcome.status;
    EXPECT_THAT(outcome.status.message(), AllOf(HasSubstr(c.cause), HasSubstr(c.remedy))) << c.name;
  }
}

// The kernel starts such a program; its dynamic linker gives up with status 127.
TEST(ContainerExplainTest, NamesTheMissingLibrary) {
  base::UniqueFd ls(open("/bin/ls", O_RDONLY | O_CLOEXEC));
  auto elf = ReadElf(ls.get());
  ASSERT_TRUE(elf.has_value());
  ASSERT_FALSE(elf->interpreter.empty());
  ASSERT_FALSE(elf->libraries.empty());
  TestBundle bundle;
  std::string dir = elf->interpreter.substr(0, elf->interpreter.rfind('/'));
  ASSERT_TRUE(base::MakeDirs(bundle.rootfs() + dir, 0755).ok());
  WriteTestFile(bundle.rootfs() + elf->interpreter, *base::ReadFile(elf->interpreter), 0755);
  Program(&bundle, "/bin/dynamic", *base::ReadFile("/bin/ls"), 0755);
  bundle.spec["process"]["args"] = {"dynamic"};
  RunOutcome outcome = bundle.Run();
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  EXPECT_EQ(outcome.exit_status, 127);
  auto process = ParseProcess(bundle.spec["process"].dump());
  ASSERT_TRUE(process.ok());
  base::UniqueFd root(open(bundle.rootfs().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::string library = elf->libraries[0];
  EXPECT_THAT(ExplainExit(root.get(), *process, 127),
              AllOf(HasSubstr("/bin/dynamic"), HasSubstr("its library \"" + library + "\""),
                    HasSubstr("install the package")));
  EXPECT_EQ(ExplainExit(root.get(), *process, 1), "");
  // With all that it needs there is nothing to say.
  ASSERT_TRUE(base::MakeDirs(bundle.rootfs() + "/opt/lib", 0755).ok());
  for (const std::string& name : elf->libraries) {
    WriteTestFile(bundle.rootfs() + "/opt/lib/" + name, "");
  }
  process->env.push_back("LD_LIBRARY_PATH=/nowhere:/opt/lib");
  EXPECT_EQ(ExplainExit(root.get(), *process, 127), "");
}

}  // namespace
}  // namespace gantry::oci
