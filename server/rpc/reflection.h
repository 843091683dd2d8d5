// Whether a server answers gRPC reflection.
#ifndef SYNTHVOL_SERVER_RPC_REFLECTION_H_
#define SYNTHVOL_SERVER_RPC_REFLECTION_H_

#include <grpcpp/server_builder.h>

namespace synthvol::server {

// Puts reflection into the server that `builder` will build, or takes it out: gRPC's library adds
// it to every server as soon as it is linked, so off has to be asked for.
void SetReflection(bool on, grpc::ServerBuilder& builder);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_REFLECTION_H_
