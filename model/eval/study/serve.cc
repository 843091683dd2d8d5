#include "model/eval/study/serve.h"

#include <civetweb.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <mutex>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/atomic_file.h"
#include "base/checksum.h"
#include "model/checkpoint/strict_json.h"
#include "model/eval/study/study_files.h"

namespace synthvol::model {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxBody = 1 << 20;
// A study has tens of readers; more submissions than this are somebody filling the disk.
constexpr int64_t kMaxSubmissions = 1000;
// Scripts, styles and connections from here alone: what keeps the page off the network.
constexpr const char* kPolicy =
    "Content-Security-Policy: default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "form-action 'none'; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff";

// Reads the study's identifier out of study-data.js.
absl::StatusOr<std::string> ReadStudyId(const std::string& folder) {
  const std::string path = folder + "/study-data.js";
  const auto script = ReadFile(path, 64 << 20);
  if (!script.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--folder ", folder, ": no study-data.js; expected a folder of study build"));
  }
  const size_t begin = script->find('{');
  const size_t end = script->rfind('}');
  if (begin == std::string::npos || end == std::string::npos || end < begin) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a study of this version"));
  }
  const auto json = ParseStrictJson(script->substr(begin, end - begin + 1), path);
  if (!json.ok()) return json.status();
  if (!json->contains("study") || !json->at("study").is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": study: expected an identifier"));
  }
  return json->at("study").get<std::string>();
}

// Returns a reader's name with anything but letters, digits and '-' replaced.
std::string FileName(const std::string& reader) {
  std::string name = reader.substr(0, 40);
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '-') c = '_';
  }
  return name;
}

void Reply(mg_connection* connection, int code, const std::string& text) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
            "Connection: close\r\n\r\n%s",
            code, mg_get_response_code_text(connection, code), text.size(), text.c_str());
}

}  // namespace

struct StudyServer::State {
  std::string study;
  std::string answers;
  std::string url;
  std::mutex mutex;
  // Answer files in the folder; guarded by mutex.
  int64_t submissions = 0;
  mg_context* context = nullptr;

  // Checks and keeps one submission; a repeated one lands on the same file.
  absl::Status Keep(const std::string& body) {
    const auto parsed = ParseStudyAnswers(body, "answers");
    if (!parsed.ok()) return parsed.status();
    if (parsed->study != study) {
      return absl::InvalidArgumentError(absl::StrCat("answers: study: expected ", study));
    }
    const std::string path = absl::StrCat(answers, "/", FileName(parsed->reader), "-",
                                          Sha256Hex(body).substr(0, 12), ".json");
    const std::lock_guard<std::mutex> lock(mutex);
    std::error_code error;
    if (fs::exists(path, error)) return absl::OkStatus();
    if (submissions >= kMaxSubmissions) {
      return absl::ResourceExhaustedError(
          absl::StrCat("answers: expected at most ", kMaxSubmissions, " submissions to one study"));
    }
    if (auto status = WriteFileAtomically(path, body); !status.ok()) return status;
    ++submissions;
    return absl::OkStatus();
  }
};

namespace {

// Reads the body into `body`; returns the HTTP code of the outcome, 200 for a whole body.
int ReadBody(mg_connection* connection, std::string& body) {
  const int64_t length = mg_get_request_info(connection)->content_length;
  if (length < 0) return 411;
  if (length > kMaxBody) return 413;
  body.resize(static_cast<size_t>(length));
  size_t read = 0;
  while (read < body.size()) {
    const int got = mg_read(connection, body.data() + read, body.size() - read);
    if (got <= 0) return 400;
    read += static_cast<size_t>(got);
  }
  return 200;
}

int CodeOf(const absl::Status& status) {
  if (status.ok()) return 200;
  if (absl::IsInvalidArgument(status)) return 400;
  return absl::IsResourceExhausted(status) ? 507 : 500;
}

template <typename State>
int HandleAnswers(mg_connection* connection, void* data) {
  auto* const state = static_cast<State*>(data);
  if (std::string(mg_get_request_info(connection)->request_method) != "POST") {
    Reply(connection, 405, "answers are posted\n");
    return 405;
  }
  std::string body;
  if (const int code = ReadBody(connection, body); code != 200) {
    Reply(connection, code,
          absl::StrCat("expected Content-Length and a body of at most ", kMaxBody, " bytes\n"));
    return code;
  }
  const absl::Status status = state->Keep(body);
  const int code = CodeOf(status);
  Reply(connection, code, status.ok() ? "kept\n" : absl::StrCat(status.message(), "\n"));
  return code;
}

}  // namespace

StudyServer::StudyServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

StudyServer::~StudyServer() {
  if (state_->context != nullptr) mg_stop(state_->context);
}

const std::string& StudyServer::url() const { return state_->url; }

absl::StatusOr<std::unique_ptr<StudyServer>> StudyServer::Start(const StudyServerOptions& options) {
  auto study = ReadStudyId(options.folder);
  if (!study.ok()) return study.status();
  std::error_code error;
  fs::create_directories(options.answers, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat("--answers ", options.answers, ": ", error.message()));
  }
  auto state = std::make_unique<State>();
  state->study = *std::move(study);
  state->answers = options.answers;
  for (fs::directory_iterator file(options.answers, error), end; !error && file != end;
       file.increment(error)) {
    if (file->path().extension() == ".json") ++state->submissions;
  }

  const std::string root = fs::absolute(options.folder).string();
  const std::array<const char*, 15> settings = {"listening_ports",
                                                options.listen.c_str(),
                                                "document_root",
                                                root.c_str(),
                                                "enable_directory_listing",
                                                "no",
                                                "num_threads",
                                                "8",
                                                "request_timeout_ms",
                                                "30000",
                                                "additional_header",
                                                kPolicy,
                                                "static_file_max_age",
                                                "0",
                                                nullptr};
  const mg_callbacks callbacks{};
  mg_init_library(0);
  state->context = mg_start(&callbacks, nullptr, const_cast<const char**>(settings.data()));
  if (state->context == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--listen ", options.listen, ": cannot listen there; expected a free HOST:PORT"));
  }
  mg_server_port port{};
  mg_get_server_ports(state->context, 1, &port);
  const std::string host = options.listen.substr(0, options.listen.rfind(':'));
  state->url = absl::StrCat("http://", host, ":", port.port, "/");
  mg_set_request_handler(state->context, "/answers$", &HandleAnswers<State>, state.get());
  return std::unique_ptr<StudyServer>(new StudyServer(std::move(state)));
}

}  // namespace synthvol::model
