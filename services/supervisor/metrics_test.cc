#include "services/supervisor/metrics.h"

#include "absl/strings/str_cat.h"
#include "base/process.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::services {
namespace {

using ::testing::HasSubstr;

TEST(Metrics, ServesPrometheusText) {
  auto server = MetricsServer::Start("127.0.0.1:0", [] {
    std::vector<Metric> metrics = ProcessMetrics();
    metrics.push_back({"gantry_things", "Things.", "gauge", 7});
    return metrics;
  });
  ASSERT_TRUE(server.ok()) << server.status();
  auto get = [&](const char* path, std::vector<std::string> more = {}) {
    std::vector<std::string> argv = {"curl", "-sS", "-m", "5", "-w", "%{http_code}"};
    argv.insert(argv.end(), more.begin(), more.end());
    argv.push_back(absl::StrCat("http://127.0.0.1:", (*server)->port(), path));
    return base::RunProcess({.argv = argv})->out;
  };
  std::string text = get("/v1/metrics");
  EXPECT_THAT(text, HasSubstr("# TYPE gantry_things gauge\ngantry_things 7\n"));
  EXPECT_THAT(text, HasSubstr("process_resident_memory_bytes "));
  EXPECT_THAT(text, HasSubstr("200"));
  EXPECT_EQ(get("/other"), "404");
  EXPECT_EQ(get("/metrics", {"-X", "POST"}), "405");
}

TEST(Metrics, RefusesBadAddresses) {
  for (const char* address : {"", "1338", "localhost:x", "name:80", "127.0.0.1:70000"}) {
    EXPECT_EQ(MetricsServer::Start(address, nullptr).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
}

}  // namespace
}  // namespace gantry::services
