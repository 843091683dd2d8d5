// Models as the API shows them.
#ifndef SYNTHVOL_SERVER_RPC_MODEL_PROTO_H_
#define SYNTHVOL_SERVER_RPC_MODEL_PROTO_H_

#include "server/registry/model_registry.h"
#include "synthvol/v1/synthesis.pb.h"

namespace synthvol::server {

// Converts one version; a version that was never loaded has neither digest nor sizes.
v1::Model ToProto(const VersionInfo& info);

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_MODEL_PROTO_H_
