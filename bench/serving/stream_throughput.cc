// The two ends of a response stream on loopback, each a process, for bench/serving/run stream:
//
//   stream_throughput serve own CHECKS    the server's own stream: StreamWriter and ChunkSender,
//   the
//                                         allocator as synthvol-server sets it
//   stream_throughput serve naive CHECKS  the loop that one writes first: the synchronous API, one
//                                         message object a chunk, 1 MiB each
//   stream_throughput read own PORT SECONDS    generated code on a channel of the C++ client's, the
//                                              allocator as the programs here set it
//   stream_throughput read naive PORT SECONDS  generated code on a default channel
//
// CHECKS: none (naive only), crc32c of each chunk and volume, or sha256 of each volume as well.
// `serve` prints its port and serves until its input ends. `read` prints JSON: bytes, seconds and
// CPU seconds of its own. Not a test.
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/allocator.h"
#include "base/checksum.h"
#include "client/channel_arguments.h"
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

enum class Checks { kNone, kCrc32c, kSha256 };

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
 public:
  explicit NaiveService(Checks checks) : checks_(checks) {}

 private:
  grpc::Status Synthesize(grpc::ServerContext* context, const v1::SynthesizeRequest* /*request*/,
                          grpc::ServerWriter<v1::SynthesizeResponse>* writer) override {
    while (!context->IsCancelled()) {
      Sha256 sha256;
      for (size_t offset = 0; offset < Volume().size(); offset += kChunkBytes) {
        v1::SynthesizeResponse response;
        v1::VolumeChunk& chunk = *response.mutable_chunk();
        chunk.set_offset(offset);
        chunk.set_data(Volume().substr(offset, kChunkBytes));
        if (checks_ != Checks::kNone) chunk.set_crc32c(Crc32c(chunk.data()));
        if (checks_ == Checks::kSha256) sha256.Update(chunk.data());
        if (!writer->Write(response)) return grpc::Status::CANCELLED;
      }
    }
    return grpc::Status::CANCELLED;
  }

  const Checks checks_;
};

// The server's own stream; a thread stands for the worker that renders.
class OwnService final
    : public v1::SynthesisService::WithRawCallbackMethod_Synthesize<v1::SynthesisService::Service> {
 public:
  explicit OwnService(Checks checks) : checks_(checks) {}
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
    const std::shared_ptr<const void> kept(&Volume(), [](const void*) {});
    std::atomic<bool> gone = false;
    writer.SetOnGone([&gone](const absl::Status&) { gone = true; });
    while (!gone) {
      ChunkSender sender({writer, *pool_, hashing_},
                         {.chunk_bytes = kChunkBytes, .sha256 = checks_ == Checks::kSha256});
      // As a slab of the CPU's engine, which nobody writes while a stream keeps it.
      sender.Send(Volume(), 0, {}, kept);
      v1::VolumeTrailer trailer;
      sender.FillTrailer(trailer);
      // As SynthesisTask: the next volume is made when the buffer has room for it.
      const auto room = std::make_shared<absl::Notification>();
      if (writer.Reserve(kBufferBytes - kVolumeBytes, [room] { room->Notify(); })) continue;
      while (!gone && !room->WaitForNotificationWithTimeout(absl::Seconds(1))) {
      }
    }
    writer.Close(absl::CancelledError("the caller is gone"));
    // `gone` may still be referred to until gRPC is done with the stream.
    while (!writer.done()) absl::SleepFor(absl::Milliseconds(1));
  }

  const Checks checks_;
  const std::shared_ptr<BlockPool> pool_ = std::make_shared<BlockPool>(kChunkBytes, 64);
  Executor hashing_{1};
  std::vector<std::thread> producers_;
};

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int Serve(grpc::Service& service) {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  std::printf("%d\n", port);
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
  return 0;
}

// Reads one stream for `time`.
int Read(bool own, const std::string& port, absl::Duration time) {
  grpc::ChannelArguments arguments;
  if (own) {
    KeepFreedMemory();
    client::SetStreamArguments(arguments);
  }
  const auto channel =
      grpc::CreateCustomChannel("127.0.0.1:" + port, grpc::InsecureChannelCredentials(), arguments);
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
  std::printf("{\"bytes\": %llu, \"seconds\": %.6f, \"cpu_seconds\": %.6f}\n",
              static_cast<unsigned long long>(bytes), seconds, CpuSeconds() - cpu);
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  reader->Finish();
  return 0;
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.size() == 3 && arguments[0] == "serve") {
    const Checks checks = arguments[2] == "sha256"   ? Checks::kSha256
                          : arguments[2] == "crc32c" ? Checks::kCrc32c
                                                     : Checks::kNone;
    if (arguments[1] == "own") {
      KeepFreedMemory();
      OwnService own(checks);
      return Serve(own);
    }
    NaiveService naive(checks);
    return Serve(naive);
  }
  if (arguments.size() == 4 && arguments[0] == "read") {
    const double seconds = std::atof(arguments[3].c_str());
    return Read(arguments[1] == "own", arguments[2], absl::Seconds(seconds));
  }
  std::fprintf(stderr,
               "stream_throughput: expected serve own|naive none|crc32c|sha256, or read own|naive "
               "PORT SECONDS\n");
  return 2;
}

}  // namespace
}  // namespace synthvol::server

int main(int argc, char** argv) { return synthvol::server::Main({argv + 1, argv + argc}); }
