// The hash that runs beside its worker against the plain one, for every way of cutting the bytes.
#include "server/rpc/background_sha256.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/checksum.h"

namespace synthvol::server {
namespace {

std::string PlainSha256(std::string_view bytes) {
  Sha256 sha256;
  sha256.Update(bytes);
  return sha256.Finish();
}

std::string RandomBytes(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Hashes `bytes` in pieces of at most `largest`.
std::string HashInPieces(Executor& executor, const std::string& bytes, size_t largest,
                         uint32_t seed) {
  std::mt19937 random(seed);
  BackgroundSha256 hash(executor);
  for (size_t begin = 0; begin < bytes.size();) {
    const std::string piece = bytes.substr(begin, 1 + random() % largest);
    hash.Update(grpc::Slice(piece));
    begin += piece.size();
  }
  return hash.Finish();
}

TEST(BackgroundSha256Test, EqualsThePlainHashHoweverTheBytesAreCut) {
  Executor executor(2);
  for (const size_t count : {0, 1, 1000, 300'000, 3'000'000}) {
    const std::string bytes = RandomBytes(count, static_cast<uint32_t>(count));
    for (const size_t largest : {100'000, 1 << 20, 4 << 20}) {
      EXPECT_EQ(HashInPieces(executor, bytes, largest, 7), PlainSha256(bytes))
          << count << " bytes in pieces of up to " << largest;
    }
  }
}

TEST(BackgroundSha256Test, ManyVolumesAtOnceShareFewThreads) {
  Executor executor(1);
  std::vector<std::thread> workers;
  for (uint32_t worker = 0; worker < 4; ++worker) {
    workers.emplace_back([&executor, worker] {
      const std::string bytes = RandomBytes(2'000'000, worker);
      const std::string expected = PlainSha256(bytes);
      for (uint32_t round = 0; round < 5; ++round) {
        EXPECT_EQ(HashInPieces(executor, bytes, 500'000, round), expected);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
}

TEST(BackgroundSha256Test, AnAbandonedVolumeLetsItsMemoryGo) {
  static std::atomic<int> alive = 0;
  alive = 0;
  {
    Executor executor(1);
    for (int volume = 0; volume < 20; ++volume) {
      BackgroundSha256 hash(executor);
      for (int piece = 0; piece < 8; ++piece) {
        ++alive;
        auto* bytes = new std::string(1 << 20, 'a');
        hash.Update(grpc::Slice(
            bytes->data(), bytes->size(),
            [](void* owned) {
              delete static_cast<std::string*>(owned);
              --alive;
            },
            bytes));
      }
    }
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace synthvol::server
