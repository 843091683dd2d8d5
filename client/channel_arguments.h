// Channel arguments that suit streams of volumes. A pure function.
#ifndef SYNTHVOL_CLIENT_CHANNEL_ARGUMENTS_H_
#define SYNTHVOL_CLIENT_CHANNEL_ARGUMENTS_H_

#include <grpcpp/support/channel_arguments.h>

namespace synthvol::client {

// Gives each stream a fixed window of 16 MiB, which is how far it may be ahead of its reader: 160
// MB/s over 0.1 s of round trip. gRPC's own estimate of what a path carries begins at 64 KiB, asks
// the other end anew all the time, and cost a fifth of the rate on loopback (docs/performance.md,
// "Streams").
void SetStreamArguments(grpc::ChannelArguments& arguments);

}  // namespace synthvol::client

#endif  // SYNTHVOL_CLIENT_CHANNEL_ARGUMENTS_H_
