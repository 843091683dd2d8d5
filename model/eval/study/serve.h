// The small HTTP server of a reader study: hands out the folder, takes answers. Knows no key.
#ifndef SYNTHVOL_MODEL_EVAL_STUDY_SERVE_H_
#define SYNTHVOL_MODEL_EVAL_STUDY_SERVE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace synthvol::model {

struct StudyServerOptions {
  // A folder of `study build`.
  std::string folder;
  // Where answers land: READER-DIGEST.json, one file a submission.
  std::string answers;
  // HOST:PORT; port 0 takes a free one.
  std::string listen = "127.0.0.1:8600";
};

// Runs from Start() until it is destroyed; its threads are civetweb's.
class StudyServer {
 public:
  // Errors name the flag or file. Anyone who reaches the port can read the folder and post answers:
  // there is no login, so it binds to this machine unless told otherwise.
  static absl::StatusOr<std::unique_ptr<StudyServer>> Start(const StudyServerOptions& options);
  ~StudyServer();

  // Returns e.g. "http://127.0.0.1:8600/".
  const std::string& url() const;

 private:
  struct State;
  explicit StudyServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STUDY_SERVE_H_
