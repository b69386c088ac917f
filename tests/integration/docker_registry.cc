#include "tests/integration/docker_registry.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace gantry::tests {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

std::string Shell(const std::string& script) {
  base::SpawnOptions options;
  options.argv = {"/bin/sh", "-ec", script};
  auto result = base::RunProcess(options, {}, absl::Seconds(60));
  EXPECT_TRUE(result.ok() && result->exit.code == 0)
      << script << (result.ok() ? result->err : result.status().ToString());
  return result.ok() ? result->out : "";
}

}  // namespace

int FreePort() {
  base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size);
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

void DockerRegistry::MakeCertificates() {
  Shell(absl::StrCat(
      "cd ", dir_,
      "\nk='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n"
      "openssl req -x509 $k -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca 2>&1\n"
      "printf 'subjectAltName=IP:127.0.0.1\\n' > san\n"
      "for n in server client; do\n"
      "  openssl req $k -keyout $n.key -out $n.csr -subj /CN=$n 2>&1\n"
      "  openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
      "  -extfile san -out $n.pem 2>&1\ndone\n"));
}

bool DockerRegistry::WaitForPort() {
  for (int i = 0; i < 300; ++i) {
    base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = Loopback(port_);
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      return true;
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
  return false;
}

DockerRegistry::DockerRegistry(const DockerRegistryOptions& options)
    : dir_(options.dir), port_(FreePort()) {
  Start(options);
}

void DockerRegistry::Start(const DockerRegistryOptions& options) {
  std::string config =
      absl::StrCat("version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n",
                   "    rootdirectory: ", dir_, "/data\nhttp:\n  addr: ", host(), "\n");
  if (options.tls) {
    MakeCertificates();
    absl::StrAppend(&config, "  tls:\n    certificate: ", dir_, "/server.pem\n    key: ", dir_,
                    "/server.key\n");
    if (options.client_certs) absl::StrAppend(&config, "    clientcas: [", ca(), "]\n");
  }
  if (!options.htpasswd.empty()) {
    size_t colon = options.htpasswd.find(':');
    Shell(absl::StrCat("htpasswd -Bbn ", options.htpasswd.substr(0, colon), " ",
                       options.htpasswd.substr(colon + 1), " > ", dir_, "/htpasswd"));
    absl::StrAppend(&config, "auth:\n  htpasswd:\n    realm: test\n    path: ", dir_,
                    "/htpasswd\n");
  }
  EXPECT_TRUE(base::WriteFile(dir_ + "/config.yml", config).ok());
  auto log = base::Open(dir_ + "/registry.log", O_WRONLY | O_CREAT | O_APPEND, 0600);
  ASSERT_TRUE(log.ok());
  base::SpawnOptions spawn;
  spawn.argv = {"docker-registry", "serve", dir_ + "/config.yml"};
  spawn.env = {"OTEL_TRACES_EXPORTER=none"};
  spawn.fds = {{1, log->get()}, {2, log->get()}};
  spawn.die_with_parent = true;
  auto process = base::Process::Spawn(spawn);
  ASSERT_TRUE(process.ok()) << process.status();
  process_.emplace(*std::move(process));
  EXPECT_TRUE(WaitForPort()) << "docker-registry does not listen; see " << dir_;
}

DockerRegistry::~DockerRegistry() {
  if (!process_) return;
  (void)process_->Signal(SIGKILL);
  (void)process_->Wait(absl::Seconds(10));
}

}  // namespace gantry::tests
