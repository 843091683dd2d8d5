// The study's page and its viewer, carried inside the binary so that `study build` needs nothing
// beside it. Pure functions; the views live as long as the program.
#ifndef SYNTHVOL_MODEL_EVAL_STUDY_PAGE_FILES_H_
#define SYNTHVOL_MODEL_EVAL_STUDY_PAGE_FILES_H_

#include <string>
#include <string_view>
#include <vector>

namespace synthvol::model {

struct PageFile {
  std::string name;
  std::string_view content;
};

// Returns index.html, study.css, study.js and niivue.umd.js. The last is empty when NiiVue was not
// there at build time (scripts/setup-tools brings it).
std::vector<PageFile> PageFiles();

}  // namespace synthvol::model

#endif  // SYNTHVOL_MODEL_EVAL_STUDY_PAGE_FILES_H_
