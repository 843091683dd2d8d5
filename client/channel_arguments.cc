#include "client/channel_arguments.h"

#include <grpc/grpc.h>

namespace synthvol::client {
namespace {

constexpr int kStreamWindowBytes = 16 << 20;

}  // namespace

void SetStreamArguments(grpc::ChannelArguments& arguments) {
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kStreamWindowBytes);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
}

}  // namespace synthvol::client
