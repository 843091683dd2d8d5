#include "imaging/dicom/http_post.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace synthvol::imaging::dicom {
namespace {

// curl takes and gives C's long through variable arguments.
static_assert(std::is_same_v<decltype(0L), int64_t>, "long is expected to have 64 bits");

constexpr size_t kMaxBody = 16 << 20;

// What the callbacks of one transfer see.
struct Transfer {
  const SpoolFile& file;
  const DeliveryTracker& tracker;
  const absl::Duration longest_silence;
  uint64_t offset = 0;
  std::string body = {};
  // Bytes that went either way when they last changed, and when that was.
  curl_off_t bytes = 0;
  absl::Time changed = absl::Now();
  bool silent = false;
};

size_t ReadBody(char* buffer, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const ssize_t got = transfer.file.ReadAt(transfer.offset, buffer, size * count);
  if (got < 0) return CURL_READFUNC_ABORT;
  transfer.offset += static_cast<uint64_t>(got);
  return static_cast<size_t>(got);
}

// curl sends again from the start when a kept connection turns out dead.
int SeekBody(void* user, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Transfer*>(user)->offset = static_cast<uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

size_t TakeAnswer(char* data, size_t size, size_t count, void* user) {
  auto& body = static_cast<Transfer*>(user)->body;
  body.append(data, std::min(size * count, kMaxBody - body.size()));
  return size * count;
}

// Called about once a second; a result other than 0 ends the transfer.
int OnProgress(void* user, curl_off_t, curl_off_t received, curl_off_t, curl_off_t sent) {
  auto& transfer = *static_cast<Transfer*>(user);
  const absl::Time now = absl::Now();
  if (received + sent != transfer.bytes) {
    transfer.bytes = received + sent;
    transfer.changed = now;
  }
  transfer.silent = now - transfer.changed > transfer.longest_silence;
  return transfer.silent || transfer.tracker.cancelled() ? 1 : 0;
}

void SetCredentials(CURL* curl, const DestinationConfig& config) {
  if (!config.bearer_token.empty()) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
    curl_easy_setopt(curl, CURLOPT_XOAUTH2_BEARER, config.bearer_token.c_str());
  } else if (!config.username.empty()) {
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
    curl_easy_setopt(curl, CURLOPT_USERNAME, config.username.c_str());
    curl_easy_setopt(curl, CURLOPT_PASSWORD, config.password.c_str());
  }
}

void SetTls(CURL* curl, const TlsOptions& tls) {
  curl_easy_setopt(curl, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, tls.verify_host ? 2L : 0L);
  if (!tls.ca_file.empty()) {
    curl_easy_setopt(curl, CURLOPT_CAINFO, tls.ca_file.c_str());
    curl_easy_setopt(curl, CURLOPT_CAPATH, nullptr);
  }
  if (!tls.certificate_file.empty()) {
    curl_easy_setopt(curl, CURLOPT_SSLCERT, tls.certificate_file.c_str());
    curl_easy_setopt(curl, CURLOPT_SSLKEY, tls.key_file.c_str());
  }
}

void SetLimits(CURL* curl, const RetryOptions& retry) {
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                   absl::ToInt64Milliseconds(retry.connect_timeout));
}

void SetBody(CURL* curl, Transfer* transfer) {
  curl_easy_setopt(curl, CURLOPT_POST, 1L);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(transfer->file.size()));
  curl_easy_setopt(curl, CURLOPT_READFUNCTION, ReadBody);
  curl_easy_setopt(curl, CURLOPT_READDATA, transfer);
  curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, SeekBody);
  curl_easy_setopt(curl, CURLOPT_SEEKDATA, transfer);
  curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 512L << 10);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, TakeAnswer);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
}

absl::Status FromCurl(const DestinationConfig& config, CURLcode code, const char* detail) {
  const std::string text =
      absl::StrCat(config.name, ": ", *detail != '\0' ? detail : curl_easy_strerror(code));
  switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
      return absl::CancelledError("delivery cancelled");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ISSUER_ERROR:
      return absl::FailedPreconditionError(absl::StrCat(text, " (TLS failed)"));
    case CURLE_OUT_OF_MEMORY:
      return absl::ResourceExhaustedError(text);
    default:
      return absl::UnavailableError(text);
  }
}

}  // namespace

absl::StatusOr<HttpAnswer> HttpPost(const DestinationConfig& config, const std::string& url,
                                    const std::vector<std::string>& headers, const SpoolFile& body,
                                    const DeliveryTracker& tracker) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  if (curl == nullptr) return absl::ResourceExhaustedError("no memory for a HTTP request");
  curl_slist* list = nullptr;
  // curl would otherwise wait a second for "100 Continue" from servers that never send it.
  list = curl_slist_append(list, "Expect:");
  for (const std::string& header : headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> owned(list,
                                                                          &curl_slist_free_all);
  Transfer transfer{
      .file = body, .tracker = tracker, .longest_silence = config.retry.response_timeout};
  char detail[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, detail);
  SetCredentials(curl.get(), config);
  SetTls(curl.get(), config.tls);
  SetLimits(curl.get(), config.retry);
  SetBody(curl.get(), &transfer);
  const CURLcode code = curl_easy_perform(curl.get());
  if (transfer.silent && !tracker.cancelled()) {
    return absl::UnavailableError(absl::StrCat(
        config.name, ": no answer within ", absl::FormatDuration(config.retry.response_timeout)));
  }
  if (code != CURLE_OK) return FromCurl(config, code, detail);
  HttpAnswer answer;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &answer.code);
  const char* location = nullptr;
  curl_easy_getinfo(curl.get(), CURLINFO_REDIRECT_URL, &location);
  if (location != nullptr) answer.location = location;
  answer.body = std::move(transfer.body);
  return answer;
}

}  // namespace synthvol::imaging::dicom
