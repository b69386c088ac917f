#include "docker/options.h"

#include <CLI/CLI.hpp>

namespace gantry::docker {

ParsedOptions ParseOptions(int argc, char** argv) {
  ParsedOptions parsed;
  Options& o = parsed.options;
  CLI::App app("gantry-docker: the Docker Engine API in front of gantryd");
  app.set_version_flag("-v,--version", "gantry-docker " GANTRY_VERSION);
  app.add_option("-H,--host", o.hosts, "listen here: unix:///path, tcp://address:port, fd://")
      ->capture_default_str();
  app.add_option("--gantryd", o.gantryd, "gantryd's socket")->capture_default_str();
  app.add_option("--containerd-namespace", o.ns, "namespace of all containers and images")
      ->capture_default_str();
  app.add_option("--snapshotter", o.snapshotter, "what unpacks layers")->capture_default_str();
  app.add_option("--cgroup-parent", o.cgroup_parent, "control group of all containers")
      ->capture_default_str();
  app.add_option("-G,--group", o.group, "group of the unix socket")->capture_default_str();
  app.add_option("--config-file", o.config_file, "configuration, with Docker's keys")
      ->capture_default_str();
  app.add_option("--certs-dirs", o.certs_dirs, "registries' certificates and mirrors (HOST/…)")
      ->capture_default_str();
  app.add_flag("--tls", o.tls, "TLS on tcp addresses, for any client");
  app.add_flag("--tlsverify", o.tls_verify, "TLS, for clients with a certificate of --tlscacert");
  app.add_option("--tlscacert", o.tls_ca, "who signs clients' certificates")->capture_default_str();
  app.add_option("--tlscert", o.tls_cert, "our certificate")->capture_default_str();
  app.add_option("--tlskey", o.tls_key, "our key")->capture_default_str();
  app.add_flag("-D,--debug", o.debug, "log more");
  app.add_subcommand("routes", "print the table of endpoints")->callback([&o] {
    o.print_routes = true;
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {  // CLI11 has no other way
    parsed.exit_code = app.exit(error);
  }
  return parsed;
}

}  // namespace gantry::docker
