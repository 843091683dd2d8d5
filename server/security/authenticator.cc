#include "server/security/authenticator.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/registry/model_repository.h"
#include "server/scheduling/annotated_status.h"

namespace synthvol::server {
namespace {

constexpr absl::string_view kBearer = "bearer ";

absl::Status Unauthenticated(absl::string_view message) {
  return WithReason(absl::UnauthenticatedError(message), "BAD_CREDENTIALS");
}

std::string CertificateName(const grpc::ServerContextBase& context) {
  const auto auth = context.auth_context();
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return "anonymous";
  const auto names = auth->FindPropertyValues("x509_common_name");
  if (names.size() != 1) return "anonymous";
  const std::string name(names[0].data(), names[0].size());
  return IsName(name) ? name : "anonymous";
}

}  // namespace

absl::StatusOr<Caller> Authenticator::Identify(const grpc::ServerContextBase& context) const {
  if (store_ == nullptr) return Caller{CertificateName(context), anonymous_scopes_};
  const auto& metadata = context.client_metadata();
  const auto [first, last] = metadata.equal_range("authorization");
  if (first == last) return Unauthenticated("a bearer token is required");
  if (std::next(first) != last) return Unauthenticated("more than one authorization header");
  const absl::string_view value(first->second.data(), first->second.size());
  if (!absl::StartsWithIgnoreCase(value, kBearer)) {
    return Unauthenticated("expected 'authorization: Bearer TOKEN'");
  }
  const std::optional<Caller> caller = store_->Find(value.substr(kBearer.size()));
  if (!caller.has_value()) return Unauthenticated("the bearer token is not valid");
  return *caller;
}

absl::StatusOr<Caller> Authenticator::Check(const grpc::ServerContextBase& context,
                                            Scope scope) const {
  absl::StatusOr<Caller> caller = Identify(context);
  if (!caller.ok()) return caller.status();
  if ((caller->scopes & scope) == 0) {
    return WithReason(absl::PermissionDeniedError(
                          absl::StrCat("this call needs the scope '", ToString(scope), "'")),
                      "MISSING_SCOPE");
  }
  return caller;
}

}  // namespace synthvol::server
