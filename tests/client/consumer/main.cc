// Fetches volumes with the installed library: consumer HOST:PORT MODEL SEED COUNT.
#include <cstdlib>
#include <iostream>

#include "client/client.h"

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  synthvol::client::ClientOptions options;
  options.endpoints = {argv[1]};
  const auto client = synthvol::client::Client::Create(options);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  synthvol::v1::SynthesizeRequest request;
  request.mutable_model()->set_name(argv[2]);
  request.set_seed(std::strtoull(argv[3], nullptr, 10));
  request.set_count(static_cast<uint32_t>(std::strtoul(argv[4], nullptr, 10)));
  request.set_format(synthvol::v1::VOLUME_FORMAT_INT16);
  const auto volumes = (*client)->SynthesizeToMemory(request);
  if (!volumes.ok()) {
    std::cerr << volumes.status() << "\n";
    return 1;
  }
  for (const auto& volume : *volumes)
    std::cout << volume.header.seed() << " " << volume.sha256 << "\n";
}
