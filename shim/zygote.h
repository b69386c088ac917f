#ifndef GANTRY_SHIM_ZYGOTE_H_
#define GANTRY_SHIM_ZYGOTE_H_

namespace gantry::shim {

// `gantry-shim -zygote`: forks a shim for each request on the SOCK_SEQPACKET socket `fd` until its
// other end closes; returns the exit code. The contract is in proto/gantry/shim/v1/zygote.proto.
int RunZygote(int fd);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_ZYGOTE_H_
