// AdminService: behind the scope "admin".
//
// Thread-safe. Borrows its context. Loading blocks, so it runs on a thread of its own, one at a
// time.
#ifndef SYNTHVOL_SERVER_RPC_ADMIN_SERVICE_H_
#define SYNTHVOL_SERVER_RPC_ADMIN_SERVICE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/rpc/call.h"
#include "server/rpc/executor.h"
#include "server/rpc/service_context.h"
#include "synthvol/v1/admin.grpc.pb.h"

namespace synthvol::server {

class AdminService final : public v1::AdminService::CallbackService {
 public:
  // `drain` is called by Drain.
  AdminService(const ServiceContext* context, std::function<void()> drain);

  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* context,
                                      const v1::LoadModelRequest* request,
                                      v1::LoadModelResponse* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context,
                                        const v1::UnloadModelRequest* request,
                                        v1::UnloadModelResponse* response) override;
  grpc::ServerUnaryReactor* SetModelLabel(grpc::CallbackServerContext* context,
                                          const v1::SetModelLabelRequest* request,
                                          v1::SetModelLabelResponse* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context,
                                  const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest* request,
                                      v1::GetStatusResponse* response) override;

 private:
  // Checks the scope, then runs `work` on the executor and answers with its status.
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context, const std::string& method,
                                const std::string& model, int64_t version,
                                std::function<absl::Status()> work);
  void FillStatus(v1::GetStatusResponse& response) const;
  absl::Status FillModel(const std::string& name, int64_t version, v1::Model& model) const;

  const ServiceContext* const context_;
  const std::function<void()> drain_;
  const absl::Time started_;
  // Last: its thread ends before what it uses.
  Executor executor_{1};
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_ADMIN_SERVICE_H_
