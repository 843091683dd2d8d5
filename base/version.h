// What this build is: part of what fixes a volume's bytes, so it is reported with every one.
#ifndef SYNTHVOL_BASE_VERSION_H_
#define SYNTHVOL_BASE_VERSION_H_

namespace synthvol {

// Returns the release, e.g. "0.1.0".
const char* Version();
// Returns the abbreviated git commit, "unknown" outside a checkout.
const char* Commit();
// Returns "VERSION+COMMIT".
const char* Build();

}  // namespace synthvol

#endif  // SYNTHVOL_BASE_VERSION_H_
