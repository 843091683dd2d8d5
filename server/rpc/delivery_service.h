// DeliveryService: synthesis that ends in a PACS. Handlers without logic.
//
// Thread-safe. Borrows its context; owns destinations and the threads that send.
#ifndef SYNTHVOL_SERVER_RPC_DELIVERY_SERVICE_H_
#define SYNTHVOL_SERVER_RPC_DELIVERY_SERVICE_H_

#include <map>
#include <memory>
#include <string>

#include "server/rpc/call.h"
#include "server/rpc/destinations.h"
#include "server/rpc/executor.h"
#include "server/rpc/service_context.h"
#include "synthvol/v1/delivery.grpc.pb.h"

namespace synthvol::server {

using DeliveryServiceBase = v1::DeliveryService::WithRawCallbackMethod_Deliver<
    v1::DeliveryService::WithCallbackMethod_ListDestinations<v1::DeliveryService::Service>>;

class DeliveryService final : public DeliveryServiceBase {
 public:
  // Volumes on their way to one destination at once.
  static constexpr int kSendersPerDestination = 4;

  DeliveryService(const ServiceContext* context, Destinations destinations);

  grpc::ServerUnaryReactor* ListDestinations(grpc::CallbackServerContext* context,
                                             const v1::ListDestinationsRequest* request,
                                             v1::ListDestinationsResponse* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Deliver(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request) override;

 private:
  // As SynthesisService::Start.
  absl::Status Start(const grpc::CallbackServerContext& context, const grpc::ByteBuffer& request,
                     const std::shared_ptr<StreamWriter>& writer, Call& call);

  const ServiceContext* const context_;
  const Destinations destinations_;
  // By destination: one that hangs holds up no other. Last: their threads end before what they use.
  std::map<std::string, std::unique_ptr<Executor>> senders_;
};

}  // namespace synthvol::server

#endif  // SYNTHVOL_SERVER_RPC_DELIVERY_SERVICE_H_
