// Bytes a second of a response stream on loopback: the server's own stream (StreamWriter, pooled
// blocks, CRC32C and SHA-256 of every byte) beside the loop that one writes first: the synchronous
// API, one message object a chunk, 1 MiB each, no checksums. Both are read by the same client; both
// processes' worth of work is in this one process, so CPU seconds are those of sender and reader.
//
//   stream_throughput [SECONDS]
//
// Prints Markdown. Not a test: bench/serving/run stream.
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/rpc/chunk_message.h"
#include "server/rpc/stream_writer.h"
#include "server/rpc/volume_sender.h"
#include "synthvol/v1/synthesis.grpc.pb.h"

namespace synthvol::server {
namespace {

constexpr uint32_t kChunkBytes = 1 << 20;
constexpr uint64_t kBufferBytes = 64 << 20;
// A volume of 256 a side in int16.
constexpr size_t kVolumeBytes = size_t{256} * 256 * 256 * 2;

const std::string& Volume() {
  static const std::string* const volume = [] {
    auto* bytes = new std::string(kVolumeBytes, '\0');
    uint32_t state = 1;
    for (char& byte : *bytes)
      byte = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return bytes;
  }();
  return *volume;
}

class NaiveService final : public v1::SynthesisService::Service {
  grpc::Status Synthesize(grpc::ServerContext* context, const v1::SynthesizeRequest* /*request*/,
                          grpc::ServerWriter<v1::SynthesizeResponse>* writer) override {
    while (!context->IsCancelled()) {
      for (size_t offset = 0; offset < Volume().size(); offset += kChunkBytes) {
        v1::SynthesizeResponse response;
        v1::VolumeChunk& chunk = *response.mutable_chunk();
        chunk.set_offset(offset);
        chunk.set_data(Volume().substr(offset, kChunkBytes));
        if (!writer->Write(response)) return grpc::Status::CANCELLED;
      }
    }
    return grpc::Status::CANCELLED;
  }
};

// The server's own stream; a thread stands for the worker that renders.
class OwnService final
    : public v1::SynthesisService::WithRawCallbackMethod_Synthesize<v1::SynthesisService::Service> {
 public:
  ~OwnService() override {
    for (std::thread& producer : producers_) producer.join();
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Synthesize(
      grpc::CallbackServerContext* context, const grpc::ByteBuffer* /*request*/) override {
    const std::shared_ptr<StreamWriter> writer = StreamWriter::Create(context);
    producers_.emplace_back([this, writer] { Produce(*writer); });
    return writer.get();
  }

 private:
  void Produce(StreamWriter& writer) {
    std::atomic<bool> gone = false;
    writer.SetOnGone([&gone](const absl::Status&) { gone = true; });
    while (!gone) {
      ChunkSender sender(writer, *pool_, 0, kChunkBytes);
      sender.Send(Volume(), 0, {});
      sender.FinishSha256();
      // As SynthesisTask: the next volume is made when the buffer has room for it.
      while (!gone && !writer.Reserve(kBufferBytes - kVolumeBytes, [] {})) {
        absl::SleepFor(absl::Microseconds(200));
      }
    }
    writer.Close(absl::CancelledError("the caller is gone"));
    // `gone` may still be referred to until gRPC is done with the stream.
    while (!writer.done()) absl::SleepFor(absl::Milliseconds(1));
  }

  const std::shared_ptr<BlockPool> pool_ = std::make_shared<BlockPool>(kChunkBytes + 512, 64);
  std::vector<std::thread> producers_;
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

struct Rate {
  double gigabytes_per_second = 0;
  double cpu_seconds_per_gigabyte = 0;
};

// Reads one stream of `service` for `time`.
template <typename Service>
Rate Measure(absl::Duration time) {
  Service service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  const auto channel =
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
  const auto stub = v1::SynthesisService::NewStub(channel);
  grpc::ClientContext context;
  const auto reader = stub->Synthesize(&context, {});
  v1::SynthesizeResponse response;
  uint64_t bytes = 0;
  // Connections and pools are warm after a volume.
  while (bytes < kVolumeBytes && reader->Read(&response)) bytes += response.chunk().data().size();
  bytes = 0;
  const absl::Time begin = absl::Now();
  const double cpu = CpuSeconds();
  while (absl::Now() - begin < time && reader->Read(&response)) {
    bytes += response.chunk().data().size();
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  const double gigabytes = static_cast<double>(bytes) / 1e9;
  const Rate rate{gigabytes / seconds, (CpuSeconds() - cpu) / gigabytes};
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  reader->Finish();
  server->Shutdown();
  return rate;
}

// The median of an odd number of rates.
Rate Median(std::vector<Rate> rates) {
  std::sort(rates.begin(), rates.end(), [](const Rate& a, const Rate& b) {
    return a.gigabytes_per_second < b.gigabytes_per_second;
  });
  return rates[rates.size() / 2];
}

int Main(double seconds) {
  std::vector<Rate> naive;
  std::vector<Rate> own;
  // Alternating, so that a change of the machine meets both.
  for (int i = 0; i < 3; ++i) {
    naive.push_back(Measure<NaiveService>(absl::Seconds(seconds)));
    own.push_back(Measure<OwnService>(absl::Seconds(seconds)));
  }
  const Rate a = Median(naive);
  const Rate b = Median(own);
  std::printf(
      "| stream, 1 MiB chunks, loopback | GB/s | CPU s per GB (both ends) |\n|---|---|---|\n");
  std::printf("| naive loop, no checksums | %.2f | %.2f |\n", a.gigabytes_per_second,
              a.cpu_seconds_per_gigabyte);
  std::printf("| synthvol-server's stream, CRC32C and SHA-256 | %.2f | %.2f |\n",
              b.gigabytes_per_second, b.cpu_seconds_per_gigabyte);
  std::printf("| ratio | %.2fx | %.2fx |\n", b.gigabytes_per_second / a.gigabytes_per_second,
              a.cpu_seconds_per_gigabyte / b.cpu_seconds_per_gigabyte);
  return 0;
}

}  // namespace
}  // namespace synthvol::server

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 5.0;
  if (argc > 2 || seconds <= 0) {
    std::fprintf(stderr, "stream_throughput: expected SECONDS, a positive number\n");
    return 2;
  }
  return synthvol::server::Main(seconds);
}
