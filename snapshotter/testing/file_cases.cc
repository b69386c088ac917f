// What is in the mounts.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/ids.h"
#include "gtest/gtest.h"
#include "snapshotter/testing/cases.h"

namespace gantry::snapshotter::testing {

Mounted::Mounted(const Env& env, const absl::StatusOr<std::vector<base::Mount>>& mounts)
    : path_(absl::StrCat(env.work, "/m-", base::RandomHex(4))) {
  EXPECT_TRUE(mounts.ok()) << mounts.status();
  if (!mounts.ok() || !base::MakeDirs(path_, 0700).ok()) return;
  absl::Status mounted = base::MountAll(*mounts, path_);
  EXPECT_TRUE(mounted.ok()) << mounted;
  ok_ = mounted.ok();
}

Mounted::~Mounted() {
  if (ok_) {
    EXPECT_TRUE(base::UnmountAll(path_).ok());
  }
  rmdir(path_.c_str());
}

void Layer(Env& env, const std::string& name, const std::string& parent,
           const std::function<void(const Mounted&)>& fill) {
  std::string key = "making-" + name;
  {
    Mounted mounted(env, env.subject.Prepare(key, parent));
    ASSERT_TRUE(mounted.ok());
    fill(mounted);
  }
  absl::Status committed = env.subject.Commit(name, key);
  ASSERT_TRUE(committed.ok()) << committed;
}

void Write(const std::string& path, const std::string& content, unsigned mode) {
  absl::Status written = base::WriteFile(path, content, mode);
  EXPECT_TRUE(written.ok()) << written;
  EXPECT_EQ(chmod(path.c_str(), mode), 0);
}

std::string Read(const std::string& path) {
  auto content = base::ReadFile(path);
  if (absl::IsNotFound(content.status())) return "<missing>";
  EXPECT_TRUE(content.ok()) << content.status();
  return content.ok() ? *content : "";
}

namespace {

struct stat Lstat(const std::string& path) {
  struct stat st {};
  EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
  return st;
}

void MakeDir(const std::string& path, unsigned mode = 0755) {
  ASSERT_EQ(mkdir(path.c_str(), mode), 0) << path;
  ASSERT_EQ(chmod(path.c_str(), mode), 0) << path;
}

void LayersShineThrough(Env& env) {
  Layer(env, "one", "", [](const Mounted& m) {
    Write(m / "foo", "foo\n");
    MakeDir(m / "dir");
    Write(m / "dir/deep", "deep\n");
  });
  Layer(env, "two", "one", [](const Mounted& m) {
    EXPECT_EQ(Read(m / "foo"), "foo\n");
    Write(m / "foo", "changed\n");
    Write(m / "bar", "bar\n");
  });
  Mounted top(env, env.subject.Prepare("a", "two"));
  EXPECT_EQ(Read(top / "foo"), "changed\n");
  EXPECT_EQ(Read(top / "bar"), "bar\n");
  EXPECT_EQ(Read(top / "dir/deep"), "deep\n");
  Write(top / "foo", "mine\n");
  Mounted below(env, env.subject.View("v", "two"));
  EXPECT_EQ(Read(below / "foo"), "changed\n");
  Mounted bottom(env, env.subject.View("w", "one"));
  EXPECT_EQ(Read(bottom / "foo"), "foo\n");
  EXPECT_EQ(Read(bottom / "bar"), "<missing>");
}

void ViewsAreReadOnly(Env& env) {
  Layer(env, "one", "", [](const Mounted& m) { Write(m / "f", "1"); });
  Layer(env, "two", "one", [](const Mounted& m) { Write(m / "g", "2"); });
  for (const char* parent : {"", "one", "two"}) {
    std::string key = absl::StrCat("view-", parent);
    Mounted view(env, env.subject.View(key, parent));
    ASSERT_TRUE(view.ok());
    EXPECT_EQ(open((view / "new").c_str(), O_CREAT | O_WRONLY, 0600), -1);
    EXPECT_EQ(errno, EROFS) << parent;
  }
}

void DeletionsHide(Env& env) {
  Layer(env, "one", "", [](const Mounted& m) {
    Write(m / "file", "1");
    MakeDir(m / "dir");
    Write(m / "dir/old", "1");
    MakeDir(m / "gone");
    Write(m / "gone/x", "1");
  });
  Layer(env, "two", "one", [](const Mounted& m) {
    EXPECT_EQ(unlink((m / "file").c_str()), 0);
    EXPECT_TRUE(base::RemoveTree(m / "gone").ok());
    EXPECT_TRUE(base::RemoveTree(m / "dir").ok());
    MakeDir(m / "dir");  // opaque: what was in it stays gone
    Write(m / "dir/new", "2");
  });
  for (bool writable : {false, true}) {
    Mounted m(env, writable ? env.subject.Prepare("a", "two") : env.subject.View("v", "two"));
    ASSERT_TRUE(m.ok());
    EXPECT_EQ(Read(m / "file"), "<missing>");
    EXPECT_EQ(Read(m / "gone/x"), "<missing>");
    EXPECT_EQ(Read(m / "dir/old"), "<missing>");
    EXPECT_EQ(Read(m / "dir/new"), "2");
    auto names = base::ListDir(m.path());
    ASSERT_TRUE(names.ok());
    EXPECT_EQ(names->size(), 1u);  // no whiteout is visible
  }
}

void FileBecomesDirectoryAndBack(Env& env) {
  Layer(env, "one", "", [](const Mounted& m) {
    Write(m / "a", "file");
    MakeDir(m / "b");
    Write(m / "b/x", "x");
  });
  Layer(env, "two", "one", [](const Mounted& m) {
    EXPECT_EQ(unlink((m / "a").c_str()), 0);
    MakeDir(m / "a");
    Write(m / "a/x", "x");
    EXPECT_TRUE(base::RemoveTree(m / "b").ok());
    Write(m / "b", "file");
  });
  Mounted m(env, env.subject.View("v", "two"));
  EXPECT_EQ(Read(m / "a/x"), "x");
  EXPECT_EQ(Read(m / "b"), "file");
}

void RenamesAcrossLayers(Env& env) {
  Layer(env, "one", "", [](const Mounted& m) {
    Write(m / "from", "content");
    MakeDir(m / "dir");
  });
  Layer(env, "two", "one", [](const Mounted& m) {
    EXPECT_EQ(rename((m / "from").c_str(), (m / "dir/to").c_str()), 0);
    MakeDir(m / "fresh");
    Write(m / "fresh/x", "x");
    EXPECT_EQ(rename((m / "fresh").c_str(), (m / "renamed").c_str()), 0);
  });
  Mounted m(env, env.subject.Prepare("a", "two"));
  EXPECT_EQ(Read(m / "from"), "<missing>");
  EXPECT_EQ(Read(m / "dir/to"), "content");
  EXPECT_EQ(Read(m / "renamed/x"), "x");
  EXPECT_EQ(Read(m / "fresh/x"), "<missing>");
}

void HardLinksStay(Env& env) {
  Layer(env, "one", "", [](const Mounted& m) {
    Write(m / "a", "shared");
    MakeDir(m / "d");
    ASSERT_EQ(link((m / "a").c_str(), (m / "d/b").c_str()), 0);
  });
  Layer(env, "two", "one", [](const Mounted& m) { Write(m / "other", "o"); });
  Mounted m(env, env.subject.View("v", "two"));
  EXPECT_EQ(Lstat(m / "a").st_ino, Lstat(m / "d/b").st_ino);
  EXPECT_EQ(Lstat(m / "a").st_nlink, 2u);
  Layer(env, "three", "two",
        [](const Mounted& m) { ASSERT_EQ(link((m / "other").c_str(), (m / "again").c_str()), 0); });
  Mounted n(env, env.subject.View("w", "three"));
  EXPECT_EQ(Read(n / "again"), "o");
}

void ModesOwnersAndTimesStay(Env& env) {
  const timespec times[2] = {{1000000001, 123456789}, {1000000002, 987654321}};
  Layer(env, "one", "", [&times](const Mounted& m) {
    MakeDir(m / "dir", 01777);
    Write(m / "suid", "s");
    ASSERT_EQ(chown((m / "suid").c_str(), 1234, 4321), 0);
    ASSERT_EQ(chmod((m / "suid").c_str(), 04755), 0);
    ASSERT_EQ(lsetxattr((m / "suid").c_str(), "user.gantry", "v", 1, 0), 0);
    ASSERT_EQ(utimensat(AT_FDCWD, (m / "suid").c_str(), times, 0), 0);
    ASSERT_EQ(symlink("nowhere", (m / "link").c_str()), 0);
    ASSERT_EQ(lchown((m / "link").c_str(), 5, 6), 0);
    ASSERT_EQ(mkfifo((m / "fifo").c_str(), 0622), 0);
    ASSERT_EQ(mknod((m / "null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(utimensat(AT_FDCWD, (m / "dir").c_str(), times, 0), 0);
  });
  Layer(env, "two", "one", [](const Mounted& m) { Write(m / "more", "x"); });
  Mounted m(env, env.subject.Prepare("a", "two"));
  struct stat suid = Lstat(m / "suid");
  EXPECT_EQ(suid.st_mode & 07777, 04755u);
  EXPECT_EQ(suid.st_uid, 1234u);
  EXPECT_EQ(suid.st_gid, 4321u);
  EXPECT_EQ(suid.st_mtim.tv_sec, 1000000002);
  EXPECT_EQ(suid.st_mtim.tv_nsec, 987654321);
  char value[8];
  EXPECT_EQ(lgetxattr((m / "suid").c_str(), "user.gantry", value, sizeof(value)), 1);
  EXPECT_EQ(Lstat(m / "dir").st_mode & 07777, 01777u);
  EXPECT_EQ(Lstat(m / "dir").st_mtim.tv_nsec, 987654321);
  EXPECT_TRUE(S_ISLNK(Lstat(m / "link").st_mode));
  EXPECT_EQ(Lstat(m / "link").st_uid, 5u);
  EXPECT_TRUE(S_ISFIFO(Lstat(m / "fifo").st_mode));
  EXPECT_EQ(Lstat(m / "null").st_rdev, makedev(1, 3));
}

void DirectoryModeChangesInUpperLayer(Env& env) {
  Layer(env, "one", "", [](const Mounted& m) {
    MakeDir(m / "dir", 0700);
    Write(m / "dir/x", "x");
  });
  Layer(env, "two", "one", [](const Mounted& m) {
    ASSERT_EQ(chmod((m / "dir").c_str(), 0777), 0);
    ASSERT_EQ(chown((m / "dir").c_str(), 7, 8), 0);
  });
  Mounted m(env, env.subject.View("v", "two"));
  EXPECT_EQ(Lstat(m / "dir").st_mode & 07777, 0777u);
  EXPECT_EQ(Lstat(m / "dir").st_uid, 7u);
  EXPECT_EQ(Read(m / "dir/x"), "x");
}

void RootOwnerIsInherited(Env& env) {
  {
    Mounted fresh(env, env.subject.Prepare("fresh", ""));
    EXPECT_EQ(Lstat(fresh.path()).st_mode & 07777, 0755u);
    EXPECT_EQ(Lstat(fresh.path()).st_uid, 0u);
  }
  Layer(env, "one", "",
        [](const Mounted& m) { ASSERT_EQ(chown(m.path().c_str(), 1000, 1001), 0); });
  Layer(env, "two", "one", [](const Mounted& m) { Write(m / "x", "x"); });
  for (bool writable : {false, true}) {
    Mounted m(env, writable ? env.subject.Prepare("a", "two") : env.subject.View("v", "two"));
    EXPECT_EQ(Lstat(m.path()).st_uid, 1000u);
    EXPECT_EQ(Lstat(m.path()).st_gid, 1001u);
  }
}

void SparseFilesStaySparse(Env& env) {
  constexpr off_t kSize = 64 << 20;
  Layer(env, "one", "", [](const Mounted& m) {
    Write(m / "sparse", "begin");
    int fd = open((m / "sparse").c_str(), O_WRONLY);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(pwrite(fd, "end", 3, kSize - 3), 3);
    close(fd);
  });
  Layer(env, "two", "one", [](const Mounted& m) { Write(m / "other", "x"); });
  Mounted m(env, env.subject.View("v", "two"));
  EXPECT_EQ(Lstat(m / "sparse").st_size, kSize);
  EXPECT_LT(Lstat(m / "sparse").st_blocks * 512, 1 << 20);
  EXPECT_LT(env.subject.GetUsage("two")->size, 1 << 20);
}

void UsageCountsBlocksAndInodes(Env& env) {
  Subject& s = env.subject;
  const std::string megabyte(1 << 20, 'x');
  auto mounts = s.Prepare("a", "");
  absl::StatusOr<Usage> empty = s.GetUsage("a");
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(empty->inodes, 1);
  {
    Mounted m(env, mounts);
    Write(m / "big", megabyte);
    ASSERT_EQ(link((m / "big").c_str(), (m / "same").c_str()), 0);
    MakeDir(m / "dir");
    int fd = open((m / "big").c_str(), O_RDONLY);
    EXPECT_EQ(fsync(fd), 0);  // blocks are allocated late
    close(fd);
  }
  absl::StatusOr<Usage> active = s.GetUsage("a");
  ASSERT_TRUE(active.ok());
  EXPECT_EQ(active->inodes, 3);
  EXPECT_GE(active->size, 1 << 20);
  EXPECT_LT(active->size, (1 << 20) + (1 << 16));
  ASSERT_TRUE(s.Commit("c", "a").ok());
  EXPECT_TRUE(*s.GetUsage("c") == *active);
  ASSERT_TRUE(s.View("v", "c").ok());
  EXPECT_EQ(s.GetUsage("v")->size, 0);
}

void ManyLayers(Env& env) {
  constexpr int kLayers = 128;
  std::string parent;
  for (int i = 0; i < kLayers; ++i) {
    std::string name = absl::StrCat("layer-", i);
    Layer(env, name, parent, [i](const Mounted& m) {
      Write(m / absl::StrCat("file-", i), absl::StrCat(i));
      Write(m / "latest", absl::StrCat(i));
    });
    if (::testing::Test::HasFatalFailure()) return;
    parent = name;
  }
  for (bool writable : {false, true}) {
    Mounted m(env, writable ? env.subject.Prepare("a", parent) : env.subject.View("v", parent));
    ASSERT_TRUE(m.ok());
    EXPECT_EQ(Read(m / "file-0"), "0");
    EXPECT_EQ(Read(m / "file-127"), "127");
    EXPECT_EQ(Read(m / "latest"), "127");
  }
}

void RemovalWhileMounted(Env& env) {
  Mounted m(env, env.subject.Prepare("a", ""));
  ASSERT_TRUE(m.ok());
  EXPECT_TRUE(env.subject.Remove("a").ok());
  EXPECT_EQ(env.subject.Stat("a").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace

const std::vector<Case>& FileCases() {
  static const auto* cases = new std::vector<Case>{
      {"LayersShineThrough", LayersShineThrough},
      {"ViewsAreReadOnly", ViewsAreReadOnly},
      {"DeletionsHide", DeletionsHide},
      {"FileBecomesDirectoryAndBack", FileBecomesDirectoryAndBack},
      {"RenamesAcrossLayers", RenamesAcrossLayers},
      {"HardLinksStay", HardLinksStay},
      {"ModesOwnersAndTimesStay", ModesOwnersAndTimesStay},
      {"DirectoryModeChangesInUpperLayer", DirectoryModeChangesInUpperLayer},
      {"RootOwnerIsInherited", RootOwnerIsInherited},
      {"SparseFilesStaySparse", SparseFilesStaySparse},
      {"UsageCountsBlocksAndInodes", UsageCountsBlocksAndInodes},
      {"ManyLayers", ManyLayers},
      {"RemovalWhileMounted", RemovalWhileMounted},
  };
  return *cases;
}

}  // namespace gantry::snapshotter::testing
