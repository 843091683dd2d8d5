// Who calls, and may they: the credentials of a call turned into a tenant with scopes.
//
// Thread-safe and immutable. Does not own the token store.
#ifndef SYNTHVOL_SERVER_SECURITY_AUTHENTICATOR_H_
#define SYNTHVOL_SERVER_SECURITY_AUTHENTICATOR_H_

#include <grpcpp/server_context.h>

#include <string>

#include "absl/status/statusor.h"
#include "server/security/token_store.h"

namespace synthvol::server {

class Authenticator {
 public:
  // Without a store every caller has `anonymous_scopes`; its tenant is the common name of its
  // verified client certificate, or "anonymous".
  Authenticator(const TokenStore* store, unsigned anonymous_scopes)
      : store_(store), anonymous_scopes_(anonymous_scopes) {}

  // UNAUTHENTICATED without a valid token, PERMISSION_DENIED without the scope.
  absl::StatusOr<Caller> Check(const grpc::ServerContextBase& context, Scope scope) const;

 private:
  absl::StatusOr<Caller> Identify(const grpc::ServerContextBase& context) const;

  const TokenStore* const store_;
  const unsigned anonymous_scopes_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_SECURITY_AUTHENTICATOR_H_
