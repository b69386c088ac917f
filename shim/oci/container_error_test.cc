// What a user reads when a container does not start.

#include <elf.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/oci/container_test_util.h"

namespace gantry::oci {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::Status RunProgram(TestBundle* bundle, const std::string& program) {
  bundle->spec["process"]["args"] = {program};
  RunOutcome outcome = bundle->Run();
  EXPECT_FALSE(outcome.status.ok()) << outcome.out;
  return outcome.status;
}

TEST(ContainerErrorTest, MissingProgram) {
  TestBundle bundle;
  absl::Status status = RunProgram(&bundle, "foo");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            "exec: \"foo\": executable file not found in $PATH: give its full path or add it to "
            "the image");
  status = RunProgram(&bundle, "/bin/foo");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(),
            "exec: \"/bin/foo\": stat /bin/foo: no such file or directory: correct the path or add "
            "it to the image");
}

TEST(ContainerErrorTest, NotExecutable) {
  TestBundle bundle;
  WriteTestFile(bundle.rootfs() + "/bin/plain", "#!/bin/sh\n", 0644);
  absl::Status status = RunProgram(&bundle, "/bin/plain");
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("exec: \"/bin/plain\": permission denied"),
                                      HasSubstr("no execute bit")));
  EXPECT_THAT(RunProgram(&bundle, "/bin").message(), HasSubstr("is a directory"));
}

TEST(ContainerErrorTest, MissingInterpreters) {
  TestBundle bundle;
  WriteTestFile(bundle.rootfs() + "/bin/script", "#! /bin/nosuch -x\n", 0755);
  absl::Status status = RunProgram(&bundle, "/bin/script");
  EXPECT_THAT(status.message(), AllOf(HasSubstr("exec /bin/script: no such file or directory"),
                                      HasSubstr("its interpreter \"/bin/nosuch\" does not exist")));
  WriteTestFile(bundle.rootfs() + "/bin/dos", "#!/bin/sh\r\necho\r\n", 0755);
  status = RunProgram(&bundle, "/bin/dos");
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("no such file or directory"), HasSubstr("carriage return")));
  auto dynamic = base::ReadFile("/bin/ls");
  ASSERT_TRUE(dynamic.ok());
  WriteTestFile(bundle.rootfs() + "/bin/dynamic", *dynamic, 0755);
  status = RunProgram(&bundle, "/bin/dynamic");
  EXPECT_THAT(status.message(),
              AllOf(HasSubstr("exec /bin/dynamic: no such file or directory"),
                    HasSubstr("its interpreter \"/lib"), HasSubstr("does not exist")));
}

TEST(ContainerErrorTest, WrongArchitecture) {
  TestBundle bundle;
  auto program = base::ReadFile("/bin/busybox");
  ASSERT_TRUE(program.ok());
  uint16_t machine = EM_S390;
  memcpy(program->data() + EI_NIDENT + 2, &machine, sizeof machine);
  WriteTestFile(bundle.rootfs() + "/bin/foreign", *program, 0755);
  absl::Status status = RunProgram(&bundle, "/bin/foreign");
  EXPECT_THAT(status.message(), AllOf(HasSubstr("exec format error"),
                                      HasSubstr("it is built for s390"), HasSubstr("x86_64")));
  WriteTestFile(bundle.rootfs() + "/bin/text", "just text\n", 0755);
  EXPECT_THAT(RunProgram(&bundle, "/bin/text").message(),
              AllOf(HasSubstr("exec format error"), HasSubstr("neither an ELF program")));
}

TEST(ContainerErrorTest, NoexecMount) {
  TestBundle bundle;
  std::string volume = bundle.dir() + "/volume";
  ASSERT_EQ(mkdir(volume.c_str(), 0755), 0);
  WriteTestFile(volume + "/script", "#!/bin/sh\n", 0755);
  bundle.spec["mounts"].push_back({{"destination", "/v"},
                                   {"type", "bind"},
                                   {"source", volume},
                                   {"options", {"bind", "noexec"}}});
  absl::Status status = RunProgram(&bundle, "/v/script");
  EXPECT_THAT(status.message(), AllOf(HasSubstr("permission denied"), HasSubstr("noexec")));
}

TEST(ContainerErrorTest, BadWorkingDirectory) {
  TestBundle bundle;
  bundle.spec["process"]["cwd"] = "/etc/passwd";
  absl::Status status = RunProgram(&bundle, "true");
  EXPECT_THAT(status.message(), HasSubstr("working directory \"/etc/passwd\": not a directory"));
}

TEST(ContainerErrorTest, BadMounts) {
  TestBundle bundle;
  base::Json mounts = bundle.spec["mounts"];
  bundle.spec["mounts"].push_back({{"destination", "/v"},
                                   {"type", "bind"},
                                   {"source", "/nosuch/volume"},
                                   {"options", {"bind"}}});
  absl::Status status = RunProgram(&bundle, "true");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("/nosuch/volume"), HasSubstr("\"/v\"")));
  bundle.spec["mounts"] = mounts;
  bundle.spec["mounts"].push_back({{"destination", "/v"}, {"type", "nosuchfs"}, {"source", "x"}});
  EXPECT_THAT(RunProgram(&bundle, "true").message(),
              AllOf(HasSubstr("mount on \"/v\""), HasSubstr("file system type")));
  bundle.spec["mounts"] = mounts;
  bundle.spec["mounts"].push_back({{"destination", "/v"},
                                   {"type", "tmpfs"},
                                   {"source", "tmpfs"},
                                   {"options", {"nosuchoption=1"}}});
  EXPECT_THAT(RunProgram(&bundle, "true").message(), HasSubstr("mount on \"/v\": "));
}

TEST(ContainerErrorTest, MissingRootfs) {
  TestBundle bundle;
  bundle.options.rootfs = bundle.dir() + "/nosuch";
  absl::Status status = RunProgram(&bundle, "true");
  EXPECT_THAT(status.message(), HasSubstr(absl::StrCat("rootfs ", bundle.dir(), "/nosuch")));
}

}  // namespace
}  // namespace gantry::oci
