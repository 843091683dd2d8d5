// libFuzzer target: requests from strangers. Whatever the bytes, planning ends with a plan that can
// be run or with a status that names the field. Built and run by tests/fuzz/run request.
#include <google/protobuf/stubs/logging.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/registry/servable_model.h"
#include "server/rpc/synthesis_plan.h"
#include "server/scheduling/annotated_status.h"

namespace {

namespace server = synthvol::server;
namespace v1 = synthvol::v1;

void Require(bool holds) {
  if (!holds) std::abort();
}

// A model with classes or without.
const server::ServableModel& Model(bool classes) {
  const auto make = [](int64_t num_classes) {
    synthvol::model::ModelConfig config;
    config.latent_dim = 4;
    config.num_classes = num_classes;
    return new server::ServableModel("tiny", 1, {}, config, std::string(64, 'a'),
                                     std::array<bool, 3>{true, false, false}, 1);
  };
  static const server::ServableModel* const plain = make(0);
  static const server::ServableModel* const conditional = make(3);
  return classes ? *conditional : *plain;
}

void CheckPlan(const server::SynthesisPlan& plan) {
  Require(plan.count >= 1 && plan.count <= 1000 && plan.start_volume < plan.count);
  Require(plan.start_slice < 64);
  Require(plan.chunk_bytes >= server::kMinChunkBytes && plan.chunk_bytes <= server::kMaxChunkBytes);
  for (const uint32_t index : {plan.start_volume, plan.count - 1}) {
    const auto latent = server::LatentOf(plan, index, 4);
    Require(latent.ok() && latent->size() == 4);
    for (const float value : *latent) Require(std::isfinite(value));
  }
  if (plan.format == v1::VOLUME_FORMAT_DICOM) {
    Require(Validate(server::DescribeSeries(plan, plan.count - 1)).ok());
  }
}

template <typename Request, typename Plan>
void Try(const std::string& bytes, Plan plan_request) {
  Request request;
  if (!request.ParseFromString(bytes)) return;
  const auto choice = server::CheckModelSelector(request.model());
  if (choice.ok()) Require(server::IsName(choice->name));
  for (const bool classes : {false, true}) {
    const auto plan = plan_request(request, Model(classes), server::RequestLimits());
    if (plan.ok()) {
      CheckPlan(*plan);
    } else {
      Require(plan.status().code() == absl::StatusCode::kInvalidArgument);
      Require(server::FieldOf(plan.status()).has_value());
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  // A line for each string that is not UTF-8 would take most of the time.
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  Try<v1::SynthesizeRequest>(bytes, &server::PlanSynthesis);
  Try<v1::DeliverRequest>(bytes, &server::PlanDelivery);
  return 0;
}
