#include "client/cli/generator.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/command_line.h"
#include "client/cli/slice_store.h"

namespace synthvol::client {

// Takes one stretch's volumes, one after the other.
class Generator::Sink : public VolumeSink {
 public:
  Sink(Generator& generator, const Stretch& stretch, std::unique_ptr<SliceStore> first)
      : generator_(generator), stretch_(stretch), store_(std::move(first)) {}

  absl::Status Begin(const v1::VolumeHeader& header) override {
    const uint64_t volume = stretch_.base + header.volume_index();
    stem_ = generator_.StemOf(volume);
    if (store_ == nullptr)
      store_ = std::make_unique<SliceStore>(generator_.folder_.work_path(), stem_);
    return store_->Begin(header);
  }

  absl::Status Data(const VolumeData& data) override {
    const size_t before = store_->slices().size();
    absl::Status status = store_->Append(data);
    generator_.CountData(data.data.size(), store_->slices().size() - before);
    return status;
  }

  absl::Status End(const v1::VolumeTrailer& trailer, const std::string& sha256) override {
    const v1::VolumeHeader header = *store_->header();
    std::string whole_sha256 = sha256;
    if (!sha256.empty() && header.start_slice() > 0) {  // an earlier run brought the beginning
      absl::StatusOr<std::string> computed = store_->Sha256Hex();
      if (!computed.ok()) return computed.status();
      whole_sha256 = *std::move(computed);
    }
    absl::StatusOr<std::vector<std::string>> names =
        WriteOutputs(generator_.output_, stem_, *store_);
    if (!names.ok()) return names.status();
    nlohmann::json files = nlohmann::json::array();
    for (const std::string& name : *names) {
      std::error_code error;
      const auto size = std::filesystem::file_size(
          std::filesystem::path(generator_.output_.folder) / name, error);
      files.push_back({{"name", name}, {"bytes", error ? 0 : size}});
    }
    nlohmann::json record = {{"seed", header.seed()},
                             {"files", std::move(files)},
                             {"model_version", header.model_version()},
                             {"model_digest", header.model_digest()},
                             {"build", header.build()},
                             {"device_class", header.device_class()},
                             {"precision", v1::Precision_Name(header.precision())},
                             {"synthesis_seconds", trailer.synthesis_seconds()}};
    if (!whole_sha256.empty()) record["sha256"] = whole_sha256;
    if (!header.plausibility().empty()) record["plausibility"] = header.plausibility();
    if (header.has_drawn_seed()) record["drawn_seed"] = header.drawn_seed();
    if (absl::Status status = generator_.folder_.Record(record); !status.ok()) return status;
    store_->Remove();
    store_.reset();
    const absl::MutexLock lock(&generator_.mutex_);
    ++generator_.totals_.made;
    return absl::OkStatus();
  }

  void Retrying(const absl::Status& why, const std::string& next, absl::Duration pause) override {
    generator_.CountRetry(why, next, pause);
  }

 private:
  Generator& generator_;
  const Stretch stretch_;
  std::string stem_;
  std::unique_ptr<SliceStore> store_;
};

Generator::Generator(Client& client, v1::SynthesizeRequest request, v1::Model model,
                     OutputOptions output, OutputFolder& folder, bool quiet)
    : client_(client),
      request_(std::move(request)),
      model_(std::move(model)),
      output_(std::move(output)),
      folder_(folder),
      quiet_(quiet) {}

Generator::~Generator() = default;

GenerateTotals Generator::totals() const {
  const absl::MutexLock lock(&mutex_);
  return totals_;
}

std::string Generator::StemOf(uint64_t volume) const {
  return OutputStem(request_.model().name(), request_.seed() + volume);
}

void Generator::CountData(uint64_t bytes, uint64_t slices) {
  double rate = 0;
  {
    const absl::MutexLock lock(&mutex_);
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begun_);
    if (totals_.bytes == 0) totals_.first_slice_seconds = seconds;
    totals_.bytes += bytes;
    rate = static_cast<double>(totals_.bytes) / 1e6 / std::max(seconds, 1e-3);
  }
  if (bar_ != nullptr && slices > 0) bar_->Advance(slices, absl::StrFormat("%.1f MB/s", rate));
}

void Generator::CountRetry(const absl::Status& why, const std::string& next, absl::Duration pause) {
  const absl::MutexLock lock(&mutex_);
  ++totals_.retries;
  if (quiet_) return;
  // Clears the bar's line on a terminal; the bar comes back with the next slice.
  absl::FPrintF(stderr, "%ssynthvol: %s; trying %s in %.1f s\n",
                isatty(STDERR_FILENO) == 1 ? "\r\x1b[K" : "", OneLine(std::string(why.message())),
                next, absl::ToDoubleSeconds(pause));
}

absl::Status Generator::Run(uint64_t begin, uint64_t end, uint64_t parallel,
                            const CallOptions& call) {
  begun_ = absl::Now();
  const auto slices_per_volume = static_cast<uint64_t>(model_.size());
  uint64_t slices_here = 0;
  const auto done = [&](uint64_t volume) { return folder_.IsDone(request_.seed() + volume); };
  const auto started = [&](uint64_t volume) {
    std::error_code error;
    return std::filesystem::exists(
        absl::StrCat(folder_.work_path(), "/", StemOf(volume), ".header"), error);
  };
  folder_.RemoveLeftovers(request_.seed() + begin, request_.seed() + end);
  for (uint64_t volume = begin; volume < end; ++volume) {
    // A process died between recording a volume and tidying up.
    if (done(volume) && started(volume)) SliceStore(folder_.work_path(), StemOf(volume)).Remove();
  }
  {
    const absl::MutexLock lock(&mutex_);
    const std::vector<Stretch> plan = PlanWork(begin, end, parallel, done, started);
    plan_.assign(plan.begin(), plan.end());
    uint64_t missing = 0;
    for (const Stretch& stretch : plan) missing += stretch.end - stretch.begin;
    totals_.already_there = end - begin - missing;
    slices_here = totals_.already_there * slices_per_volume;
  }
  if (!quiet_) {
    bar_ = std::make_unique<ProgressBar>("generate", "slices", (end - begin) * slices_per_volume,
                                         slices_here);
  }
  std::vector<std::thread> workers;
  for (uint64_t i = 0; i < parallel; ++i) workers.emplace_back([&] { Work(call); });
  for (std::thread& worker : workers) worker.join();
  if (bar_ != nullptr) bar_->Finish();
  const absl::MutexLock lock(&mutex_);
  return first_error_;
}

void Generator::Work(const CallOptions& call) {
  while (true) {
    Stretch stretch;
    {
      const absl::MutexLock lock(&mutex_);
      if (plan_.empty() || !first_error_.ok()) return;
      stretch = plan_.front();
      plan_.pop_front();
    }
    const absl::Status status = Fetch(stretch, call);
    if (status.ok()) continue;
    const absl::MutexLock lock(&mutex_);
    first_error_.Update(status);
    // The other streams' slices stay for the next run.
    if (call.cancellation != nullptr) call.cancellation->Cancel();
    return;
  }
}

absl::Status Generator::Fetch(const Stretch& stretch, const CallOptions& call) {
  v1::SynthesizeRequest request = request_;
  request.set_seed(request_.seed() + stretch.base);
  request.set_count(static_cast<uint32_t>(stretch.end - stretch.base));
  request.set_start_volume(static_cast<uint32_t>(stretch.begin - stretch.base));
  auto store = std::make_unique<SliceStore>(folder_.work_path(), StemOf(stretch.begin));
  CallOptions options = call;
  if (!store->slices().empty()) {
    // With every slice there, only the last is asked for again: its trailer is the proof.
    const size_t held =
        std::min<size_t>(store->slices().size(), static_cast<size_t>(model_.size()) - 1);
    request.set_start_slice(static_cast<uint32_t>(held));
    options.resume_from = IdentityOf(*store->header());
    if (bar_ != nullptr) bar_->Advance(held);
  }
  Sink sink(*this, stretch, std::move(store));
  return client_.Synthesize(request, sink, options);
}

}  // namespace synthvol::client
