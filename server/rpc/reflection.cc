#include "server/rpc/reflection.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>

#include <memory>
#include <vector>

namespace synthvol::server {
namespace {

class WithoutReflection : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const std::unique_ptr<grpc::ServerBuilderPlugin>& plugin) {
      return plugin->name() == "proto_server_reflection";
    });
  }
};

}  // namespace

void SetReflection(bool on, grpc::ServerBuilder& builder) {
  // Does nothing more than the library's own start-up did, but keeps the linker from dropping it.
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  if (!on) builder.SetOption(std::make_unique<WithoutReflection>());
}

}  // namespace synthvol::server
